// The patch explorer in the browser: a photo whose patches can be picked, and three views of the one that is chosen.
// It computes nothing: a choice goes to the kernel as row, column, block, head and step, and comes back as colours.

const STYLE = `
.samlite-patches { color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); max-width: 1000px; padding: 4px;
  font: 14px/1.45 system-ui, sans-serif; }
.samlite-patches * { box-sizing: border-box; }
.samlite-patches .maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 10px; }
.samlite-patches figure { margin: 0; }
.samlite-patches figcaption { margin-top: 2px; }
.samlite-patches canvas { display: block; width: 100%; image-rendering: pixelated; }
.samlite-patches .photo { cursor: crosshair; touch-action: none; }
.samlite-patches .planes { display: grid; grid-template-columns: repeat(4, minmax(60px, 120px)); gap: 10px; margin: 8px 0; }
.samlite-patches .bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 8px 0; }
.samlite-patches label { display: inline-flex; gap: 6px; align-items: center; }
.samlite-patches select, .samlite-patches input { font: inherit; min-height: 28px; }
.samlite-patches :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-patches pre { margin: 6px 0; padding: 6px 8px; overflow: auto; color: inherit; background: none;
  border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-patches .error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; }
.samlite-patches .error:empty { display: none; }`;

const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

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
function tile(view, side) {
  const canvas = element("canvas", { width: side, height: side });
  canvas.getContext("2d").putImageData(new ImageData(bytesOf(view), side, side), 0, 0);
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
  const { grid, blocks, heads, steps } = model.get("sizes");
  const SIDE = 480; // pixels of a drawn map; the page shows it smaller or larger
  const cell = SIDE / grid;

  const photo = panel("photo", "the photo: pick a patch", {
    width: SIDE, height: SIDE, tabindex: 0, role: "application",
    "aria-label": "Photo. Arrow keys pick a patch; home and end go to the first and last of the row; page up and page down change the block.",
  });
  const attention = panel("attention", "attention: dark for little, bright for much, × for most", { width: SIDE, height: SIDE });
  const likeness = panel("likeness", "likeness: violet for unlike, white for neither, brown for alike", { width: SIDE, height: SIDE });
  const patch = panel("patch", "the patch", { width: 96, height: 96 });
  const planes = ["red", "green", "blue"].map((name) => panel(name, `${name} values`, { width: 96, height: 96 }));

  const block = element("input", { type: "range", min: 0, max: blocks - 1, step: 1 });
  const blockShown = element("output");
  const head = element("select");
  head.append(element("option", { value: -1 }, "mean of all heads"));
  for (let i = 0; i < heads; i++) head.append(element("option", { value: i }, `head ${i}`));
  const step = element("select");
  for (const name of steps) step.append(element("option", { value: name }, name.replaceAll("_", " ")));

  const words = element("div", { class: "words", "aria-live": "polite" });
  const code = element("pre", { "aria-label": "the same in Python" });
  const error = element("div", { class: "error", role: "alert" });
  const root = element("div", { class: "samlite-patches" },
    element("style", {}, STYLE),
    element("div", { class: "maps" }, photo.figure, attention.figure, likeness.figure),
    element("div", { class: "bar" },
      element("label", {}, "block", block, blockShown),
      element("label", {}, "attention of", head),
      element("label", {}, "likeness by", step)),
    element("div", { class: "planes" }, patch.figure, ...planes.map((plane) => plane.figure)),
    words, error, code);
  el.append(root);

  let picture = null, grey = null, alive = true;
  createImageBitmap(new Blob([bytesOf(model.get("picture_file"))], { type: "image/png" })).then((bitmap) => {
    if (!alive) return;
    picture = bitmap;
    grey = greyOf(bitmap);
    draw();
  });

  function ring(context, row, column) {
    for (const [colour, width] of [["#1a1a1a", 7], ["#ffffff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(column * cell, row * cell, cell, cell);
    }
  }

  function cross(context, row, column) {
    const x = (column + 0.5) * cell, y = (row + 0.5) * cell, arm = 9;
    for (const [colour, width] of [["#1a1a1a", 7], ["#ffffff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(x - arm, y - arm);
      context.lineTo(x + arm, y + arm);
      context.moveTo(x - arm, y + arm);
      context.lineTo(x + arm, y - arm);
      context.stroke();
    }
  }

  function drawMap(canvas, colours, row, column) {
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(grey, 0, 0, SIDE, SIDE);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 0.65;
    context.drawImage(tile(colours, grid), 0, 0, SIDE, SIDE);
    context.globalAlpha = 1;
    ring(context, row, column);
    return context;
  }

  function draw() {
    const reply = model.get("reply"), row = model.get("row"), column = model.get("column");
    block.value = model.get("block");
    blockShown.textContent = `${model.get("block")} of ${blocks - 1}`;
    head.value = model.get("head");
    step.value = model.get("step");
    error.textContent = reply.error;
    words.textContent = reply.words;
    code.textContent = reply.code;
    if (!picture) return;
    const context = photo.canvas.getContext("2d");
    context.drawImage(picture, 0, 0, SIDE, SIDE);
    context.strokeStyle = "#ffffff66";
    context.lineWidth = 1;
    context.beginPath();
    for (let i = 1; i < grid; i++) {
      context.moveTo(i * cell, 0);
      context.lineTo(i * cell, SIDE);
      context.moveTo(0, i * cell);
      context.lineTo(SIDE, i * cell);
    }
    context.stroke();
    ring(context, row, column);
    cross(drawMap(attention.canvas, reply.attention, row, column), ...reply.peak);
    drawMap(likeness.canvas, reply.similarity, row, column);
    const side = picture.width / grid;
    const enlarged = patch.canvas.getContext("2d");
    enlarged.imageSmoothingEnabled = false;
    enlarged.drawImage(picture, column * side, row * side, side, side, 0, 0, 96, 96);
    planes.forEach((plane, i) => {
      const drawing = plane.canvas.getContext("2d");
      drawing.imageSmoothingEnabled = false;
      drawing.drawImage(tile(reply.planes[i], reply.side), 0, 0, 96, 96);
    });
  }

  function choose(changes) {
    const news = Object.entries(changes).filter(([name, value]) => model.get(name) !== value);
    if (!news.length) return;
    for (const [name, value] of news) model.set(name, value);
    model.save_changes();
  }

  const within = (value, last) => Math.max(0, Math.min(last, value));
  function pick(event) {
    const box = photo.canvas.getBoundingClientRect();
    choose({
      column: within(Math.floor(((event.clientX - box.left) / box.width) * grid), grid - 1),
      row: within(Math.floor(((event.clientY - box.top) / box.height) * grid), grid - 1),
    });
  }

  photo.canvas.addEventListener("pointerdown", (event) => {
    photo.canvas.setPointerCapture(event.pointerId);
    photo.canvas.focus();
    pick(event);
  });
  photo.canvas.addEventListener("pointermove", (event) => event.buttons && pick(event));
  photo.canvas.addEventListener("keydown", (event) => {
    const row = model.get("row"), column = model.get("column"), now = model.get("block");
    if (KEYS[event.key]) {
      const [down, right] = KEYS[event.key];
      choose({ row: within(row + down, grid - 1), column: within(column + right, grid - 1) });
    } else if (event.key === "Home") choose({ column: 0 });
    else if (event.key === "End") choose({ column: grid - 1 });
    else if (event.key === "PageUp") choose({ block: within(now + 1, blocks - 1) });
    else if (event.key === "PageDown") choose({ block: within(now - 1, blocks - 1) });
    else return;
    event.preventDefault();
  });
  // Jupyter reads keys before the page does and would take the arrows away from the photo, the slider and the menus,
  // except where the element has this attribute. Its own keys with ctrl stay its own.
  const guard = (event) => {
    if (!event.composedPath().includes(root)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  };
  window.addEventListener("keydown", guard, true);
  block.addEventListener("input", () => choose({ block: Number(block.value) }));
  head.addEventListener("change", () => choose({ head: Number(head.value) }));
  step.addEventListener("change", () => choose({ step: step.value }));

  model.on("change:reply", draw);
  draw();
  return () => {
    alive = false;
    model.off("change:reply", draw);
    window.removeEventListener("keydown", guard, true);
  };
}

export default { render };
