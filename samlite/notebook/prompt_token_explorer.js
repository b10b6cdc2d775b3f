// The prompt token explorer in the browser: a photo with one point that can be moved, the cells whose code is like its
// own, and the summands of its token. It computes nothing: a choice goes to the kernel as x, y, kind and term.

const STYLE = `
.samlite-token { --map: 260px; max-width: 880px; }
.samlite-token canvas { image-rendering: pixelated; }
.samlite-token .strips { display: grid; grid-template-columns: max-content 1fr; gap: 4px 10px; align-items: center; margin: 8px 0; }
.samlite-token .strips canvas { height: 26px; }`;

const SIGNS = { "foreground point": "+", "background point": "−", "first corner": "1", "second corner": "2" };
const COLOURS = { "foreground point": "#0072b2", "background point": "#d55e00", "first corner": "#e69f00", "second corner": "#e69f00" };

function render({ model, el }) {
  const { grid, channels, side, photo: photoSize, scale, kinds, terms } = model.get("sizes");
  const SIDE = 480; // pixels of a drawn map; the page shows it smaller or larger
  const cell = SIDE / grid;
  const map = { width: SIDE, height: SIDE };

  const photo = panel("photo", "the photo: move the point", {
    ...map, tabindex: 0, role: "application",
    "aria-label": "Photo with one prompt point. Arrow keys move it by a pixel, with shift by a cell of the grid; home and end go to the left and right edge; page up and page down change its kind.",
  });
  const likeness = panel("likeness", "likeness of the codes: violet for unlike, white for neither, brown for alike", map);
  const kind = menu(kinds), term = menu(terms);

  const strips = element("div", { class: "strips" });
  const rows = model.get("reply").strips.map(() => {
    const name = element("span"), canvas = element("canvas", { width: channels, height: 1, role: "img" });
    strips.append(name, canvas);
    return { name, canvas };
  });
  const { root, tell } = frameOf("samlite-token", STYLE,
    element("div", { class: "maps" }, photo.figure, likeness.figure),
    element("div", { class: "bar" }, element("label", {}, "kind", kind), element("label", {}, "likeness by", term)),
    strips);

  let picture = null, grey = null;

  function mark(context, [x, y], name) {
    const [left, top] = [x * SIDE, y * SIDE], radius = 12, far = radius * 1.3;
    outlined(context, (c) => {
      if (name === "foreground point") c.arc(left, top, radius, 0, 2 * Math.PI);
      else if (name === "background point") c.rect(left - radius, top - radius, 2 * radius, 2 * radius);
      else {
        c.moveTo(left - far, top);
        c.lineTo(left, top - far);
        c.lineTo(left + far, top);
        c.lineTo(left, top + far);
        c.closePath();
      }
    });
    context.fillStyle = COLOURS[name];
    context.fill();
    context.fillStyle = name.endsWith("corner") ? "#1a1a1a" : "#ffffff";
    context.font = "bold 18px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(SIGNS[name], left, top + 1);
  }

  function draw() {
    const reply = model.get("reply");
    kind.value = model.get("kind");
    term.value = model.get("term");
    tell(reply);
    rows.forEach(({ name, canvas }, i) => {
      const strip = reply.strips[i];
      const sign = i === rows.length - 1 ? "= " : i ? "+ " : "";
      name.textContent = `${sign}${strip.name} (length ${strip.length})`;
      canvas.setAttribute("aria-label", `${strip.name}: ${channels} values, of length ${strip.length} together`);
      canvas.getContext("2d").drawImage(tile(strip.colours, channels, 1), 0, 0);
    });
    if (!picture) return;
    const context = photo.canvas.getContext("2d");
    context.drawImage(picture, 0, 0, SIDE, SIDE);
    mark(context, reply.place, model.get("kind"));
    const [row, column] = reply.cell;
    outlined(drawMap(likeness.canvas, grey, tile(reply.similarity, grid)),
      (c) => c.rect(column * cell, row * cell, cell, cell));
  }

  // Whole pixels of the original photo, and none outside it.
  const within = (value, axis) => clamp(Math.round(value), 0, photoSize[axis] - 1);
  const moveTo = (x, y) => choose(model, { x: within(x, 0), y: within(y, 1) });

  whenPressed(photo.canvas, (event) => {
    const box = photo.canvas.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * side - 0.5;
    const down = ((event.clientY - box.top) / box.height) * side - 0.5;
    moveTo(across / scale[0], down / scale[1]);
  });
  photo.canvas.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const x = model.get("x"), y = model.get("y"), now = kinds.indexOf(model.get("kind"));
    if (ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key];
      const step = scale.map((each) => (event.shiftKey ? side / grid / each : 1));
      moveTo(x + right * step[0], y + down * step[1]);
    } else if (event.key === "Home") moveTo(0, y);
    else if (event.key === "End") moveTo(photoSize[0] - 1, y);
    else if (event.key === "PageUp") choose(model, { kind: kinds[(now + 1) % kinds.length] });
    else if (event.key === "PageDown") choose(model, { kind: kinds[(now + kinds.length - 1) % kinds.length] });
    else return;
    event.preventDefault();
  });
  kind.addEventListener("change", () => choose(model, { kind: kind.value }));
  term.addEventListener("change", () => choose(model, { term: term.value }));

  draw();
  return live({
    model, el, root, answered: draw, pictures: { photo: model.get("picture_file") },
    shown(bitmap) {
      picture = bitmap;
      grey = greyOf(bitmap);
      draw();
    },
  });
}

export default { render };
