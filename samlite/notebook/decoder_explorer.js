// The decoder explorer in the browser: a click that can be moved, and what one token does in one stage of the decoder.
// It computes nothing: a choice goes to the kernel as x, y, block, stage, token and head, and comes back as colours.

const STYLE = `
.samlite-decoder { color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); max-width: 1060px; padding: 4px;
  font: 14px/1.45 system-ui, sans-serif; }
.samlite-decoder * { box-sizing: border-box; }
.samlite-decoder .maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 10px; }
.samlite-decoder figure { margin: 0; }
.samlite-decoder figcaption { margin-top: 2px; }
.samlite-decoder canvas { display: block; width: 100%; }
.samlite-decoder .photo { cursor: crosshair; touch-action: none; }
.samlite-decoder .bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 8px 0; }
.samlite-decoder label { display: inline-flex; gap: 6px; align-items: center; }
.samlite-decoder select, .samlite-decoder input { font: inherit; min-height: 28px; }
.samlite-decoder :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-decoder pre { margin: 6px 0; padding: 6px 8px; overflow: auto; color: inherit; background: none;
  border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-decoder .error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; }
.samlite-decoder .error:empty { display: none; }`;

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DARK_AND_LIGHT = [["#1a1a1a", 7], ["#ffffff", 3]];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A figure with a canvas in it; the caption is also what a screen reader says about the canvas.
function panel(name, caption, attributes = {}) {
  const canvas = element("canvas", { class: name, role: "img", "aria-label": caption, ...attributes });
  const text = element("figcaption", {}, caption);
  return { canvas, text, figure: element("figure", {}, canvas, text) };
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

function menu(options) {
  const select = element("select");
  options.forEach(([value, text]) => select.append(element("option", { value }, text)));
  return select;
}

function render({ model, el }) {
  const { width, height, blocks, heads, stages, tokens, box } = model.get("sizes");
  const WIDE = 480, HIGH = Math.round((WIDE * height) / width); // pixels of a drawing; the page shows it smaller or larger
  const scale = WIDE / width; // photo → drawing
  const size = { width: WIDE, height: HIGH };

  const photo = panel("photo", "the photo: place the click", {
    ...size, tabindex: 0, role: "application",
    "aria-label": "Photo. Arrow keys move the click, with shift by one pixel; home and end go to the first and last "
      + "token; page up and page down change the block; s and h go to the next stage and head.",
  });
  const attention = panel("attention", "attention: dark for little, bright for much, × for most", size);
  const logits = panel("logits", "mask logits: violet below 0, brown above", size);

  const block = element("input", { type: "range", min: 0, max: blocks - 1, step: 1 });
  const blockShown = element("output");
  const stage = menu(stages.map((name) => [name, name.replaceAll("_", " ")]));
  const token = menu(tokens.map((name, place) => [place, name]));
  const head = menu([[-1, "mean of all heads"], ...Array.from({ length: heads }, (_, i) => [i, `head ${i}`])]);

  const words = element("div", { class: "words", "aria-live": "polite" });
  const code = element("pre", { "aria-label": "the same in Python" });
  const error = element("div", { class: "error", role: "alert" });
  const root = element("div", { class: "samlite-decoder" },
    element("style", {}, STYLE),
    element("div", { class: "maps" }, photo.figure, attention.figure, logits.figure),
    element("div", { class: "bar" },
      element("label", {}, "block", block, blockShown),
      element("label", {}, "stage", stage),
      element("label", {}, "token", token),
      element("label", {}, "attention of", head)),
    words, error, code);
  el.append(root);

  let picture = null, grey = null, alive = true, busy = false, next = null;
  createImageBitmap(new Blob([bytesOf(model.get("picture_file"))], { type: "image/png" })).then((bitmap) => {
    if (!alive) return;
    picture = bitmap;
    grey = greyOf(bitmap);
    draw();
  });

  function outlined(context, path) {
    for (const [colour, wide] of DARK_AND_LIGHT) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.beginPath();
      path(context);
      context.stroke();
    }
  }

  // A pixel (x, y) of the photo → its centre on the drawing.
  const onDrawing = (x, y) => [(x + 0.5) * scale, (y + 0.5) * scale];

  function drawPrompt(context) {
    if (box.length) {
      const [left, top] = onDrawing(box[0], box[1]), [right, bottom] = onDrawing(box[2], box[3]);
      outlined(context, (c) => c.rect(left, top, right - left, bottom - top));
    }
    const [x, y] = onDrawing(model.get("x"), model.get("y"));
    context.fillStyle = "#0072b2";
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.fill();
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2.5;
    context.stroke();
    context.beginPath();
    context.moveTo(x - 6, y);
    context.lineTo(x + 6, y);
    context.moveTo(x, y - 6);
    context.lineTo(x, y + 6);
    context.stroke();
  }

  function drawMap(canvas, colours, cells) {
    const context = canvas.getContext("2d"), [right, bottom] = model.get("reply").extent;
    context.globalAlpha = 1;
    context.drawImage(grey, 0, 0, WIDE, HIGH);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 0.65;
    context.drawImage(tile(colours, cells), 0, 0, right * scale, bottom * scale); // the padding falls outside
    context.globalAlpha = 1;
    drawPrompt(context);
    return context;
  }

  // Token by token: rows ask, columns answer; the row of the chosen token has a frame.
  function drawMatrix(canvas, colours, cells) {
    const context = canvas.getContext("2d"), side = HIGH / cells, left = (WIDE - HIGH) / 2;
    context.clearRect(0, 0, WIDE, HIGH);
    context.imageSmoothingEnabled = false;
    context.drawImage(tile(colours, cells), left, 0, HIGH, HIGH);
    outlined(context, (c) => c.rect(left + 3, model.get("token") * side + 3, HIGH - 6, side - 6));
  }

  function draw() {
    const reply = model.get("reply");
    block.value = model.get("block");
    blockShown.textContent = `${model.get("block")} of ${blocks - 1}`;
    stage.value = model.get("stage");
    token.value = model.get("token");
    head.value = model.get("head");
    error.textContent = reply.error;
    words.textContent = reply.words;
    code.textContent = reply.code;
    attention.text.textContent = reply.over_photo
      ? "attention: dark for little, bright for much, × for most"
      : `who looks at whom: rows ask, columns answer, in the order ${tokens.join(", ")}`;
    attention.canvas.setAttribute("aria-label", attention.text.textContent);
    logits.text.textContent = `logits of mask ${reply.mask}: violet below 0, brown above`;
    if (!picture) return;
    const context = photo.canvas.getContext("2d");
    context.drawImage(picture, 0, 0, WIDE, HIGH);
    drawPrompt(context);
    if (reply.over_photo) {
      const over = drawMap(attention.canvas, reply.map, reply.cells), [x, y] = onDrawing(...reply.peak), arm = 8;
      outlined(over, (c) => {
        c.moveTo(x - arm, y - arm);
        c.lineTo(x + arm, y + arm);
        c.moveTo(x - arm, y + arm);
        c.lineTo(x + arm, y - arm);
      });
    } else drawMatrix(attention.canvas, reply.map, reply.cells);
    drawMap(logits.canvas, reply.logits, reply.logit_cells);
  }

  // While the kernel decodes, only the last of the choices that come meanwhile is kept: a drag never runs ahead of it.
  function choose(changes) {
    if (busy) {
      next = { ...next, ...changes };
      return;
    }
    const news = Object.entries(changes).filter(([name, value]) => model.get(name) !== value);
    if (!news.length) return;
    busy = true;
    for (const [name, value] of news) model.set(name, value);
    model.save_changes();
  }

  function answered() {
    busy = false;
    draw();
    const waiting = next;
    next = null;
    if (waiting) choose(waiting);
  }

  const within = (value, last) => Math.max(0, Math.min(last, value));
  // What was chosen last, whether the kernel has seen it or not.
  const chosen = (name) => (next && name in next ? next[name] : model.get(name));
  function pick(event) {
    const frame = photo.canvas.getBoundingClientRect();
    choose({
      x: within(Math.floor(((event.clientX - frame.left) / frame.width) * width), width - 1),
      y: within(Math.floor(((event.clientY - frame.top) / frame.height) * height), height - 1),
    });
  }

  photo.canvas.addEventListener("pointerdown", (event) => {
    photo.canvas.setPointerCapture(event.pointerId);
    photo.canvas.focus();
    pick(event);
  });
  photo.canvas.addEventListener("pointermove", (event) => event.buttons && pick(event));
  photo.canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 32));
    if (KEYS[event.key]) {
      const [right, down] = KEYS[event.key];
      choose({ x: within(chosen("x") + far * right, width - 1), y: within(chosen("y") + far * down, height - 1) });
    } else if (event.key === "Home") choose({ token: 0 });
    else if (event.key === "End") choose({ token: tokens.length - 1 });
    else if (event.key === "PageUp") choose({ block: within(chosen("block") + 1, blocks - 1) });
    else if (event.key === "PageDown") choose({ block: within(chosen("block") - 1, blocks - 1) });
    else if (event.key === "s") choose({ stage: stages[(stages.indexOf(chosen("stage")) + 1) % stages.length] });
    else if (event.key === "h") choose({ head: chosen("head") + 1 < heads ? chosen("head") + 1 : -1 });
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
  stage.addEventListener("change", () => choose({ stage: stage.value }));
  token.addEventListener("change", () => choose({ token: Number(token.value) }));
  head.addEventListener("change", () => choose({ head: Number(head.value) }));

  model.on("change:reply", answered);
  draw();
  return () => {
    alive = false;
    model.off("change:reply", answered);
    window.removeEventListener("keydown", guard, true);
  };
}

export default { render };
