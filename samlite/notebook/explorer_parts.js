// What the four explorers share: their looks, their elements, and how a choice goes to the kernel and an answer comes
// back. A widget is one file to a browser, so `explorer.py` puts this one in front of each of them.

const SHARED_STYLE = `
.samlite-explorer { color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); padding: 4px;
  font: 14px/1.45 system-ui, sans-serif; }
.samlite-explorer * { box-sizing: border-box; }
.samlite-explorer .maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(var(--map, 210px), 1fr)); gap: 10px; align-items: start; }
.samlite-explorer figure { margin: 0; }
.samlite-explorer figcaption { margin-top: 2px; }
.samlite-explorer canvas { display: block; width: 100%; }
.samlite-explorer .photo { cursor: crosshair; touch-action: none; }
.samlite-explorer .bar { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin: 8px 0; }
.samlite-explorer label { display: inline-flex; gap: 6px; align-items: center; }
.samlite-explorer select, .samlite-explorer input { font: inherit; min-height: 28px; }
.samlite-explorer :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-explorer pre { margin: 6px 0; padding: 6px 8px; overflow: auto; color: inherit; background: none;
  border: 1px solid var(--jp-border-color1, #8888); border-radius: 4px; font: 13px/1.45 var(--jp-code-font-family, monospace); }
.samlite-explorer .error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; }
.samlite-explorer .error:empty { display: none; }`;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }; // right, down
const DARK_AND_LIGHT = [["#1a1a1a", 7], ["#ffffff", 3]]; // seen on any photo

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A menu of names, or of [value, name].
function menu(options) {
  const select = element("select");
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    select.append(element("option", { value }, text));
  }
  return select;
}

// A figure with a canvas in it; the caption is also what a screen reader says about the canvas.
function panel(name, caption, attributes = {}) {
  const canvas = element("canvas", { class: name, role: "img", "aria-label": caption, ...attributes });
  const text = element("figcaption", {}, caption);
  return { canvas, text, figure: element("figure", {}, canvas, text) };
}

// The widget as a whole: what is given, and below it words, an error if there is one, and code; `tell` fills these in.
function frameOf(name, style, ...children) {
  const words = element("div", { class: "words", "aria-live": "polite" });
  const code = element("pre", { "aria-label": "the same in Python" });
  const error = element("div", { class: "error", role: "alert" });
  const styles = element("style", {}, SHARED_STYLE + style);
  const root = element("div", { class: `samlite-explorer ${name}` }, styles, ...children, words, error, code);
  const tell = (reply) => {
    words.textContent = reply.words;
    error.textContent = reply.error;
    code.textContent = reply.code;
  };
  return { root, tell };
}

const bytesOf = (view) => new Uint8ClampedArray(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// RGBA bytes → a small canvas, to be drawn at any size.
function tile(view, width, height = width) {
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

// A path drawn twice, dark and then light.
function outlined(context, path, inks = DARK_AND_LIGHT) {
  for (const [colour, width] of inks) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    path(context);
    context.stroke();
  }
}

function cross(context, x, y, arm) {
  outlined(context, (c) => {
    c.moveTo(x - arm, y - arm);
    c.lineTo(x + arm, y + arm);
    c.moveTo(x - arm, y + arm);
    c.lineTo(x + arm, y - arm);
  });
}

// A map of colours over the grey photo; what is larger than the canvas falls outside.
function drawMap(canvas, grey, colours, width = canvas.width, height = canvas.height) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.drawImage(grey, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 0.65;
  context.drawImage(colours, 0, 0, width, height);
  context.globalAlpha = 1;
  return context;
}

// Traits that have changed go to the kernel in one message. While it works on the one before, ipywidgets keeps only the
// last value of each trait: a drag never runs ahead of the kernel.
function choose(model, changes) {
  const news = Object.entries(changes).filter(([name, value]) => model.get(name) !== value);
  for (const [name, value] of news) model.set(name, value);
  if (news.length) model.save_changes();
}

// Jupyter reads keys before the page does and would take arrows and letters away from a photo, a slider or a menu,
// except where the element has this attribute. Its own keys with ctrl stay its own.
function keepKeys(root) {
  const guard = (event) => {
    if (!event.composedPath().includes(root)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  };
  window.addEventListener("keydown", guard, true);
  return () => window.removeEventListener("keydown", guard, true);
}

const isShortcut = (event) => event.ctrlKey || event.metaKey || event.altKey; // a key of Jupyter or of the browser

// A press on the canvas, and every move with a button down; of two fingers, those of the last that came.
function whenPressed(canvas, pick) {
  let pointer = null;
  canvas.addEventListener("pointerdown", (event) => {
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    canvas.focus();
    pick(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && event.pointerId === pointer && pick(event));
}

// The widget comes to life: files of pictures become bitmaps, and `shown` gets each of them; `answered` is called with
// every reply. Returns the function that ends it.
function live({ model, el, root, pictures, shown, answered }) {
  let alive = true;
  el.append(root);
  for (const [name, file] of Object.entries(pictures)) {
    createImageBitmap(new Blob([bytesOf(file)])).then(
      (bitmap) => alive && shown(bitmap, name),
      (problem) => { root.querySelector(".error").textContent = `The picture could not be shown: ${problem.message}`; },
    );
  }
  const letKeysGo = keepKeys(root);
  model.on("change:reply", answered);
  return () => {
    alive = false;
    model.off("change:reply", answered);
    letKeysGo();
  };
}
