// The frames explorer in the browser: four frames of one photo, and one place that is shown in all of them.
// It computes no coordinate of another frame: a place goes to the kernel with the name of its frame, and comes back in
// the numbers of each. (0, 0) is the centre of the first pixel, so a frame reaches from -0.5 to its size - 0.5.

const STYLE = `
.samlite-frames { color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); max-width: 1000px; padding: 4px;
  font: 14px/1.45 system-ui, sans-serif; }
.samlite-frames * { box-sizing: border-box; }
.samlite-frames .maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 10px; align-items: start; }
.samlite-frames figure { margin: 0; }
.samlite-frames figcaption { margin-top: 2px; }
.samlite-frames figcaption b { display: block; }
.samlite-frames figcaption span { display: block; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-frames canvas { display: block; width: 100%; image-rendering: pixelated; cursor: crosshair; touch-action: none; }
.samlite-frames .bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 8px 0; }
.samlite-frames :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-frames pre { margin: 6px 0; padding: 6px 8px; overflow: auto; color: inherit; background: none;
  border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-frames .words { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.samlite-frames .error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; }
.samlite-frames .error:empty { display: none; }`;

const TITLES = { original: "original", input: "input", grid: "grid", low_res: "low-res" };
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SIDE = 480; // pixels of the longer side of a drawn frame; the page shows it smaller or larger
const LARGE_CELLS = 24; // with so many in a row or fewer, the cell of a point is ringed
const DRAG = 5; // screen pixels from which a click is a drag

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const bytesOf = (view) => new Uint8ClampedArray(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const within = (value, low, high) => Math.max(low, Math.min(high, value));
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
  const words = element("div", { class: "words", "aria-live": "polite" });
  const code = element("pre", { "aria-label": "the same in Python" });
  const error = element("div", { class: "error", role: "alert" });
  const root = element("div", { class: "samlite-frames" },
    element("style", {}, STYLE),
    element("div", { class: "maps" }, ...names.map((name) => panels[name].figure)),
    element("div", { class: "bar" }, "Click: a point. Drag: a box. Keys: arrows (shift: a tenth), b box, p point, c centre of the cell."),
    error, code, words);
  el.append(root);

  let alive = true;
  for (const name of names) {
    createImageBitmap(new Blob([bytesOf(model.get("picture_files")[name])])).then((bitmap) => {
      if (!alive) return;
      panels[name].picture = bitmap;
      draw();
    });
  }

  function outline(context, x, y, width, height, colour) {
    for (const [ink, line] of [["#1a1a1a", 7], [colour, 3]]) {
      context.strokeStyle = ink;
      context.lineWidth = line;
      context.strokeRect(x, y, width, height);
    }
  }

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
      if (panels[name].width <= LARGE_CELLS) outline(context, column * scale, row * scale, scale, scale, "#ffffff");
      for (const [ink, radius] of [["#1a1a1a", 10], ["#ffffff", 8], ["#0072b2", 5.5]]) {
        context.fillStyle = ink;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
    } else {
      const [x1, y1, x2, y2] = numbers.map(at);
      outline(context, x1, y1, x2 - x1, y2 - y1, "#e69f00");
    }
    lines.replaceChildren(...reply.lines[name].map((line) => element("span", {}, line)));
  }

  function draw() {
    const reply = model.get("reply");
    error.textContent = reply.error;
    words.textContent = reply.words;
    code.textContent = reply.code;
    for (const name of names) drawFrame(name, reply);
  }

  function choose(frame, place) {
    model.set("frame", frame);
    model.set("place", place);
    model.save_changes();
  }

  // A place of the page → (x, y) of the frame under it, never outside it.
  function placeOf(name, event) {
    const { canvas, width, height } = panels[name];
    const box = canvas.getBoundingClientRect();
    const low = name === "original" ? 0 : -0.5;
    const x = ((event.clientX - box.left) / box.width) * width - 0.5;
    const y = ((event.clientY - box.top) / box.height) * height - 0.5;
    return [tidy(within(x, low, width - 0.5)), tidy(within(y, low, height - 0.5))];
  }

  const sorted = ([x1, y1], [x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

  function byKey(name, event) {
    const { width, height } = panels[name];
    const numbers = model.get("reply").places[name].map(tidy);
    const low = name === "original" ? 0 : -0.5;
    const inside = (values) => values.map((value, i) => within(value, low, (i % 2 ? height : width) - 0.5));
    let place;
    if (KEYS[event.key]) { // a point, or the second corner of a box
      const step = KEYS[event.key].map((way) => (event.shiftKey ? way / 10 : way));
      const last = numbers.length - 2;
      place = inside(numbers.map((value, i) => (i < last ? value : tidy(value + step[i - last]))));
    } else if (event.key === "b" && numbers.length === 2) {
      const side = Math.max(1, Math.round(Math.min(width, height) / 4));
      const start = [Math.min(numbers[0], width - 0.5 - side), Math.min(numbers[1], height - 0.5 - side)];
      place = inside([...start, start[0] + side, start[1] + side]);
    } else if (event.key === "p" && numbers.length === 4) place = inside(numbers.slice(0, 2));
    else if (event.key === "c") place = numbers.map((value, i) => within(Math.floor(value + 0.5), 0, (i % 2 ? height : width) - 1));
    else return false;
    choose(name, place);
    return true;
  }

  for (const name of names) {
    const { canvas } = panels[name];
    let start = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      canvas.focus();
      start = { place: placeOf(name, event), x: event.clientX, y: event.clientY };
      choose(name, start.place);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!start || !event.buttons) return;
      const far = Math.max(Math.abs(event.clientX - start.x), Math.abs(event.clientY - start.y)) >= DRAG;
      const box = sorted(start.place, placeOf(name, event));
      if (far && box[0] < box[2] && box[1] < box[3]) choose(name, box);
    });
    canvas.addEventListener("pointerup", () => (start = null));
    canvas.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && byKey(name, event)) event.preventDefault();
    });
  }
  // Jupyter reads keys before the page does and would take the arrows and letters away from the frames, except where
  // the element has this attribute. Its own keys with ctrl stay its own.
  const guard = (event) => {
    if (!event.composedPath().includes(root)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  };
  window.addEventListener("keydown", guard, true);

  model.on("change:reply", draw);
  draw();
  return () => {
    alive = false;
    model.off("change:reply", draw);
    window.removeEventListener("keydown", guard, true);
  };
}

export default { render };
