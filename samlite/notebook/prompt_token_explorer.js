// The prompt token explorer in the browser: a photo with one point that can be moved, the cells whose code is like its
// own, and the summands of its token. It computes nothing: a choice goes to the kernel as x, y, kind and term.

const STYLE = `
.samlite-token { color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); max-width: 880px; padding: 4px;
  font: 14px/1.45 system-ui, sans-serif; }
.samlite-token * { box-sizing: border-box; }
.samlite-token .maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 10px; }
.samlite-token figure { margin: 0; }
.samlite-token figcaption { margin-top: 2px; }
.samlite-token canvas { display: block; width: 100%; image-rendering: pixelated; }
.samlite-token .photo { cursor: crosshair; touch-action: none; }
.samlite-token .strips { display: grid; grid-template-columns: max-content 1fr; gap: 4px 10px; align-items: center; margin: 8px 0; }
.samlite-token .strips canvas { height: 26px; }
.samlite-token .bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 8px 0; }
.samlite-token label { display: inline-flex; gap: 6px; align-items: center; }
.samlite-token select { font: inherit; min-height: 28px; }
.samlite-token :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-token pre { margin: 6px 0; padding: 6px 8px; overflow: auto; color: inherit; background: none;
  border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-token .error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; }
.samlite-token .error:empty { display: none; }`;

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SIGNS = { "foreground point": "+", "background point": "−", "first corner": "1", "second corner": "2" };
const COLOURS = { "foreground point": "#0072b2", "background point": "#d55e00", "first corner": "#e69f00", "second corner": "#e69f00" };

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A figure with a canvas in it; the caption is also what a screen reader says about the canvas.
function panel(name, caption, attributes = {}) {
  const canvas = element("canvas", { class: name, role: "img", "aria-label": caption, ...attributes });
  return { canvas, figure: element("figure", {}, canvas, element("figcaption", {}, caption)) };
}

const bytesOf = (view) => new Uint8ClampedArray(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

// RGBA bytes → a small canvas, to be drawn at any size.
function tile(view, width, height) {
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").putImageData(new ImageData(bytesOf(view), width, height), 0, 0);
  return canvas;
}

function greyOf(picture) {
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    pixels.data.fill((pixels.data[i] + pixels.data[i + 1] + pixels.data[i + 2]) / 3, i, i + 3);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const { grid, channels, side, photo: photoSize, scale, kinds, terms } = model.get("sizes");
  const SIDE = 480; // pixels of a drawn map; the page shows it smaller or larger
  const cell = SIDE / grid;

  const photo = panel("photo", "the photo: move the point", {
    width: SIDE, height: SIDE, tabindex: 0, role: "application",
    "aria-label": "Photo with one prompt point. Arrow keys move it by a pixel, with shift by a cell of the grid; home and end go to the left and right edge; page up and page down change its kind.",
  });
  const likeness = panel("likeness", "likeness of the codes: violet for unlike, white for neither, brown for alike", { width: SIDE, height: SIDE });

  const menu = (choices) => {
    const select = element("select");
    for (const name of choices) select.append(element("option", { value: name }, name));
    return select;
  };
  const kind = menu(kinds), term = menu(terms);

  const strips = element("div", { class: "strips" });
  const rows = model.get("reply").strips.map(() => {
    const name = element("span"), canvas = element("canvas", { width: channels, height: 1, role: "img" });
    strips.append(name, canvas);
    return { name, canvas };
  });
  const words = element("div", { class: "words", "aria-live": "polite" });
  const code = element("pre", { "aria-label": "the same in Python" });
  const error = element("div", { class: "error", role: "alert" });
  const root = element("div", { class: "samlite-token" },
    element("style", {}, STYLE),
    element("div", { class: "maps" }, photo.figure, likeness.figure),
    element("div", { class: "bar" }, element("label", {}, "kind", kind), element("label", {}, "likeness by", term)),
    strips, words, error, code);
  el.append(root);

  let picture = null, grey = null, alive = true;
  createImageBitmap(new Blob([bytesOf(model.get("picture_file"))], { type: "image/png" })).then((bitmap) => {
    if (!alive) return;
    picture = bitmap;
    grey = greyOf(bitmap);
    draw();
  });

  function twice(context, outline) {
    for (const [colour, width] of [["#1a1a1a", 7], ["#ffffff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      outline();
    }
  }

  function mark(context, [x, y], name) {
    const [left, top] = [x * SIDE, y * SIDE], radius = 12;
    context.beginPath();
    if (name === "foreground point") context.arc(left, top, radius, 0, 2 * Math.PI);
    else if (name === "background point") context.rect(left - radius, top - radius, 2 * radius, 2 * radius);
    else {
      const far = radius * 1.3;
      context.moveTo(left - far, top);
      context.lineTo(left, top - far);
      context.lineTo(left + far, top);
      context.lineTo(left, top + far);
      context.closePath();
    }
    twice(context, () => context.stroke());
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
    error.textContent = reply.error;
    words.textContent = reply.words;
    code.textContent = reply.code;
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
    const map = likeness.canvas.getContext("2d");
    map.globalAlpha = 1;
    map.drawImage(grey, 0, 0, SIDE, SIDE);
    map.imageSmoothingEnabled = false;
    map.globalAlpha = 0.65;
    map.drawImage(tile(reply.similarity, grid, grid), 0, 0, SIDE, SIDE);
    map.globalAlpha = 1;
    const [row, column] = reply.cell;
    twice(map, () => map.strokeRect(column * cell, row * cell, cell, cell));
  }

  function choose(changes) {
    const news = Object.entries(changes).filter(([name, value]) => model.get(name) !== value);
    if (!news.length) return;
    for (const [name, value] of news) model.set(name, value);
    model.save_changes();
  }

  // Whole pixels of the original photo, and none outside it.
  const within = (value, axis) => Math.max(0, Math.min(photoSize[axis] - 1, Math.round(value)));
  const moveTo = (x, y) => choose({ x: within(x, 0), y: within(y, 1) });

  function pick(event) {
    const box = photo.canvas.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * side - 0.5;
    const down = ((event.clientY - box.top) / box.height) * side - 0.5;
    moveTo(across / scale[0], down / scale[1]);
  }

  photo.canvas.addEventListener("pointerdown", (event) => {
    photo.canvas.setPointerCapture(event.pointerId);
    photo.canvas.focus();
    pick(event);
  });
  photo.canvas.addEventListener("pointermove", (event) => event.buttons && pick(event));
  photo.canvas.addEventListener("keydown", (event) => {
    const x = model.get("x"), y = model.get("y"), now = kinds.indexOf(model.get("kind"));
    if (KEYS[event.key]) {
      const [right, down] = KEYS[event.key];
      const step = scale.map((each) => (event.shiftKey ? side / grid / each : 1));
      moveTo(x + right * step[0], y + down * step[1]);
    } else if (event.key === "Home") moveTo(0, y);
    else if (event.key === "End") moveTo(photoSize[0] - 1, y);
    else if (event.key === "PageUp") choose({ kind: kinds[(now + 1) % kinds.length] });
    else if (event.key === "PageDown") choose({ kind: kinds[(now + kinds.length - 1) % kinds.length] });
    else return;
    event.preventDefault();
  });
  // Jupyter reads keys before the page does and would take the arrows away from the photo and the menus, except where
  // the element has this attribute. Its own keys with ctrl stay its own.
  const guard = (event) => {
    if (!event.composedPath().includes(root)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  };
  window.addEventListener("keydown", guard, true);
  kind.addEventListener("change", () => choose({ kind: kind.value }));
  term.addEventListener("change", () => choose({ term: term.value }));

  model.on("change:reply", draw);
  draw();
  return () => {
    alive = false;
    model.off("change:reply", draw);
    window.removeEventListener("keydown", guard, true);
  };
}

export default { render };
