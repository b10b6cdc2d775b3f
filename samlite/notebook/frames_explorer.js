// The frames explorer in the browser: four frames of one photo, and one place that is shown in all of them.
// It computes no coordinate of another frame: a place goes to the kernel with the name of its frame, and comes back in
// the numbers of each. (0, 0) is the centre of the first pixel, so a frame reaches from -0.5 to its size - 0.5.

const STYLE = `
.samlite-frames { max-width: 1000px; }
.samlite-frames figcaption b { display: block; }
.samlite-frames figcaption span { display: block; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-frames canvas { image-rendering: pixelated; cursor: crosshair; touch-action: none; }
.samlite-frames .words { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }`;

const TITLES = { original: "original", input: "input", grid: "grid", low_res: "low-res" };
const SIDE = 480; // pixels of the longer side of a drawn frame; the page shows it smaller or larger
const LARGE_CELLS = 24; // with so many in a row or fewer, the cell of a point is ringed
const DRAG = 5; // screen pixels from which a click is a drag

const tidy = (value) => Math.round(value * 100) / 100; // two digits after the point, as they are shown

function render({ model, el }) {
  const sizes = model.get("sizes");
  const names = Object.keys(TITLES);
  const panels = {};
  for (const name of names) {
    const [height, width] = sizes[name].size;
    const scale = SIDE / Math.max(height, width); // canvas pixels for one pixel or cell of the frame
    const canvas = element("canvas", {
      class: name, width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)),
      tabindex: 0, role: "application",
      "aria-label": `The ${TITLES[name]} frame, ${width} wide and ${height} high. Arrow keys move the place by one, ` +
        "with shift by a tenth; b makes a box of it, p a point, c puts it on the centre of its cell.",
    });
    const lines = element("div");
    const caption = element("figcaption", {}, element("b", {}, `${TITLES[name]}, ${height}×${width}`), lines);
    panels[name] = { canvas, lines, scale, height, width, picture: null, figure: element("figure", {}, canvas, caption) };
  }
  const { root, tell } = frameOf("samlite-frames", STYLE,
    element("div", { class: "maps" }, ...names.map((name) => panels[name].figure)),
    element("div", { class: "bar" }, "Click: a point. Drag: a box. Keys: arrows (shift: a tenth), b box, p point, c centre of the cell."));

  function drawFrame(name, reply) {
    const { canvas, picture, scale, lines } = panels[name];
    const context = canvas.getContext("2d");
    const at = (value) => (value + 0.5) * scale;
    const numbers = reply.places[name];
    context.imageSmoothingEnabled = picture && picture.width > canvas.width;
    if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const [high, wide] = sizes[name].photo;
    context.setLineDash([10, 8]); // where the photo ends and the padding begins
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2;
    context.beginPath();
    if (high < panels[name].height) { context.moveTo(0, high * scale); context.lineTo(canvas.width, high * scale); }
    if (wide < panels[name].width) { context.moveTo(wide * scale, 0); context.lineTo(wide * scale, canvas.height); }
    context.stroke();
    context.setLineDash([]);
    if (numbers.length === 2) {
      const [x, y] = numbers.map(at);
      const [row, column] = reply.cells[name][0];
      if (panels[name].width <= LARGE_CELLS) outlined(context, (c) => c.rect(column * scale, row * scale, scale, scale));
      for (const [ink, radius] of [["#1a1a1a", 10], ["#ffffff", 8], ["#0072b2", 5.5]]) {
        context.fillStyle = ink;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
    } else {
      const [x1, y1, x2, y2] = numbers.map(at);
      outlined(context, (c) => c.rect(x1, y1, x2 - x1, y2 - y1), [["#1a1a1a", 7], ["#e69f00", 3]]);
    }
    lines.replaceChildren(...reply.lines[name].map((line) => element("span", {}, line)));
  }

  function draw() {
    const reply = model.get("reply");
    tell(reply);
    for (const name of names) drawFrame(name, reply);
  }

  const put = (frame, place) => choose(model, { frame, place });

  // A place of the page → (x, y) of the frame under it, never outside it.
  function placeOf(name, event) {
    const { canvas, width, height } = panels[name];
    const box = canvas.getBoundingClientRect();
    const low = name === "original" ? 0 : -0.5;
    const x = ((event.clientX - box.left) / box.width) * width - 0.5;
    const y = ((event.clientY - box.top) / box.height) * height - 0.5;
    return [tidy(clamp(x, low, width - 0.5)), tidy(clamp(y, low, height - 0.5))];
  }

  const sorted = ([x1, y1], [x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

  function byKey(name, event) {
    const { width, height } = panels[name];
    const numbers = (model.get("frame") === name ? model.get("place") : model.get("reply").places[name]).map(tidy);
    const low = name === "original" ? 0 : -0.5;
    const inside = (values) => values.map((value, i) => clamp(value, low, (i % 2 ? height : width) - 0.5));
    const key = event.key.toLowerCase(); // also with caps lock
    let place;
    if (ARROWS[event.key]) { // a point, or the second corner of a box
      const step = ARROWS[event.key].map((way) => (event.shiftKey ? way / 10 : way));
      const last = numbers.length - 2;
      place = inside(numbers.map((value, i) => (i < last ? value : tidy(value + step[i - last]))));
    } else if (key === "b" && numbers.length === 2) {
      const side = Math.max(1, Math.round(Math.min(width, height) / 4));
      const start = [Math.min(numbers[0], width - 0.5 - side), Math.min(numbers[1], height - 0.5 - side)];
      place = inside([...start, start[0] + side, start[1] + side]);
    } else if (key === "p" && numbers.length === 4) place = inside(numbers.slice(0, 2));
    else if (key === "c") place = numbers.map((value, i) => clamp(Math.floor(value + 0.5), 0, (i % 2 ? height : width) - 1));
    else return false;
    put(name, place);
    return true;
  }

  let start = null; // of a drag
  const stop = (event) => { if (start?.pointer === event.pointerId) start = null; };
  for (const name of names) {
    const { canvas } = panels[name];
    canvas.addEventListener("pointerdown", (event) => {
      if (start) { // a second finger: neither of the two draws a box
        start = null;
        return;
      }
      canvas.setPointerCapture(event.pointerId);
      canvas.focus();
      start = { pointer: event.pointerId, place: placeOf(name, event), x: event.clientX, y: event.clientY };
      put(name, start.place);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (start?.pointer !== event.pointerId || !event.buttons) return;
      const far = Math.max(Math.abs(event.clientX - start.x), Math.abs(event.clientY - start.y)) >= DRAG;
      const box = sorted(start.place, placeOf(name, event));
      if (far && box[0] < box[2] && box[1] < box[3]) put(name, box);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, stop);
    canvas.addEventListener("keydown", (event) => {
      if (!isShortcut(event) && byKey(name, event)) event.preventDefault();
    });
  }

  draw();
  return live({
    model, el, root, answered: draw, pictures: model.get("picture_files"),
    shown(bitmap, name) {
      panels[name].picture = bitmap;
      draw();
    },
  });
}

export default { render };
