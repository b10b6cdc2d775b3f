// The prompt canvas in the browser: draws the photo, the prompt and the masks, and turns hands into messages.
// It keeps no prompt of its own: what is drawn is the kernel's last reply, plus what a hand is doing right now.
// Every place is a pixel of the photo, whatever size the photo has on the screen.

const KEYS = [
  ["click", "foreground point"],
  ["right or shift click", "background point"],
  ["drag", "box; with the brush: paint, with shift or the right button erase"],
  ["arrow keys", "move the crosshair (with shift by one pixel)"],
  ["+ or enter", "foreground point at the crosshair"],
  ["- or shift enter", "background point at the crosshair"],
  ["b", "box: first corner, then again for the second"],
  ["m", "paint: the arrow keys paint until m is pressed again; e erases, [ and ] change the size"],
  ["u or ctrl z", "undo"],
  ["r or ctrl y", "redo"],
  ["x", "clear"],
  ["1 2 3", "choose a candidate"],
  ["p", "preview under the mouse on and off"],
  ["escape", "leave a box or a stroke unfinished"],
];

// Colours come from JupyterLab or VS Code where there is one, else from the browser: dark and light both work.
const STYLE = `
.samlite-canvas { --line: var(--jp-border-color1, var(--vscode-panel-border, #8888)); max-width: 1100px; padding: 4px; container-type: inline-size;
  color: var(--jp-ui-font-color1, var(--vscode-foreground, inherit)); font: 14px/1.4 system-ui, sans-serif; }
.samlite-canvas * { box-sizing: border-box; }
.samlite-bar { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; margin-bottom: 6px; }
.samlite-bar > * { display: inline-flex; gap: 3px; align-items: center; }
.samlite-canvas button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: 4px; padding: 2px 9px; min-height: 28px; cursor: pointer; }
.samlite-canvas button:hover:enabled { background: color-mix(in srgb, currentColor 12%, transparent); }
.samlite-canvas button[aria-pressed=true] { background: color-mix(in srgb, currentColor 18%, transparent);
  border-color: currentColor; font-weight: 600; }
.samlite-canvas button:disabled { opacity: .45; cursor: default; }
.samlite-canvas :focus-visible { outline: 3px solid #0072b2; outline-offset: 1px; box-shadow: 0 0 0 5px #fff; }
.samlite-stage { display: grid; grid-template-columns: minmax(0, var(--photo)) clamp(110px, 18%, 200px);
  gap: 10px; align-items: start; justify-content: start; }
.samlite-photo canvas { display: block; width: 100%; cursor: crosshair; touch-action: none; }
.samlite-candidates { display: grid; gap: 6px; }
.samlite-candidates button { padding: 4px; text-align: left; font-weight: inherit; }
.samlite-candidates button[aria-pressed=true] { box-shadow: inset 0 0 0 3px #0072b2; }
.samlite-candidates canvas { display: block; max-width: 100%; max-height: 24vh; margin-bottom: 2px; }
.samlite-candidates span { display: block; }
@container (max-width: 560px) { /* a narrow page: the candidates go below the photo, still side by side */
  .samlite-stage { grid-template-columns: minmax(0, var(--photo)); }
  .samlite-candidates { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
.samlite-error { border: 2px solid #d55e00; border-left-width: 8px; padding: 4px 8px; margin: 6px 0; white-space: pre-wrap; }
.samlite-error:empty { display: none; }
.samlite-said { min-height: 1.4em; margin-top: 4px; }
.samlite-code { display: flex; gap: 6px; align-items: flex-start; margin: 4px 0; }
.samlite-code pre { flex: 1; margin: 0; padding: 6px 8px; overflow: auto; max-height: 14em; white-space: pre; color: inherit; background: none;
  border: 1px solid var(--line); border-radius: 4px; }
.samlite-canvas code, .samlite-keys dt { font: 13px/1.45 var(--jp-code-font-family, ui-monospace, monospace); color: inherit; background: none; }
.samlite-times { font-variant-numeric: tabular-nums; }
.samlite-keys dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 12px; margin: 4px 0; }
.samlite-keys dt, .samlite-keys dd { float: none; width: auto; margin: 0; white-space: normal; }`;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Front ends hand over bytes as a DataView, a typed array or a bare ArrayBuffer.
const bytesOf = (data) => new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);

// Mask number k of a packed stack (one bit a pixel) → one byte a pixel.
function unpack(packed, k, size) {
  const bytes = bytesOf(packed);
  const mask = new Uint8Array(size);
  for (let i = 0, bit = k * size; i < size; i++, bit++) mask[i] = (bytes[bit >> 3] >> (7 - (bit & 7))) & 1;
  return mask;
}

// A mask → a layer to lay over the photo: half colour inside, a white rim within, a black rim around.
function layer(mask, width, height, [red, green, blue], rim) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer); // alpha, blue, green, red: every browser's machine is little-endian
  const inside = ((128 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const here = mask[i];
      const edge =
        (x >= rim && mask[i - rim] !== here) || (x + rim < width && mask[i + rim] !== here) ||
        (y >= rim && mask[i - rim * width] !== here) || (y + rim < height && mask[i + rim * width] !== here);
      if (edge) pixels[i] = here ? 0xffffffff : 0xff000000;
      else if (here) pixels[i] = inside;
    }
  }
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const frame = model.get("frame"); // width, height of the photo; shown_width, shown_height of the picture
  const colours = model.get("colours"); // role → [red, green, blue]
  const css = (role) => `rgb(${colours[role].join(" ")})`;
  const view = Math.random().toString(36).slice(2); // two views of one canvas must not take each other's replies
  const longest = Math.max(frame.width, frame.height);
  const tool = { name: "point", label: 1, radius: Math.max(2, Math.round(longest / 40)) };
  const shown = { photo: null, masks: [], painted: null, preview: null, chosen: null }; // layers to draw
  const keyboard = { at: null, start: null, corner: null, stroke: null }; // crosshair and where it will appear, first
  // corner of a box, stroke being painted
  let hand = null; // what a pointer is doing: {kind: "press" | "box" | "stroke", pointer, …}
  let waiting = []; // actions without a reply yet; drawn as if they had one
  let number = 0; // of the last message
  const timers = new Set();

  // ---------------------------------------------------------------- the parts on the page

  const button = (text, title, onclick, attributes = {}) =>
    element("button", { type: "button", title, onclick, ...attributes }, text);
  const tools = {
    point: button("point / box", "Click for a point, drag for a box", () => setTool("point")),
    brush: button("brush", "Drag to paint a mask prompt, drag with shift or the right button to erase (key m)", () => setTool("brush")),
  };
  const labels = {
    1: button("+ foreground", "A click says: this belongs to the object (key +)", () => setLabel(1)),
    0: button("− background", "A click says: this does not belong to it; so do a right click and a shift click (key -)", () => setLabel(0)),
  };
  const undo = button("undo", "Take the last change back (key u)", () => step("undo"));
  const redo = button("redo", "Do it again (key r)", () => step("redo"));
  const clear = button("clear", "Take the whole prompt away (key x)", () => step("clear"));
  const previewBox = element("input", { type: "checkbox", onchange: () => endHover() });
  previewBox.checked = true;
  const radius = element("input", { type: "range", min: 1, max: Math.max(8, Math.round(longest / 8)), value: tool.radius,
    oninput: () => { tool.radius = Number(radius.value); draw(); } });
  const canvas = element("canvas", { tabindex: 0, role: "application", "aria-label":
    `Photo of ${frame.width} by ${frame.height} pixels to point at. The arrow keys move a crosshair, plus and minus place points; all keys are listed below the photo.` });
  canvas.style.aspectRatio = `${frame.width} / ${frame.height}`;
  const candidates = element("div", { class: "samlite-candidates", role: "group", "aria-label": "candidate masks" });
  const error = element("div", { class: "samlite-error", role: "alert" });
  const said = element("div", { class: "samlite-said", role: "status", "aria-live": "polite" });
  const times = element("div", { class: "samlite-times" });
  const code = element("code");
  const copy = button("copy", "Copy the Python that gives the same masks", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say("Copied.");
    } catch { // no permission, or no https: select it instead
      getSelection().selectAllChildren(code);
      say("Selected: press ctrl C to copy.");
    }
  });
  const root = element("div", { class: "samlite-canvas" },
    element("style", {}, STYLE),
    element("div", { class: "samlite-bar", role: "toolbar", "aria-label": "prompt tools" },
      element("span", {}, tools.point, tools.brush), element("span", {}, labels[1], labels[0]), element("span", {}, undo, redo, clear),
      element("label", {}, "brush size ", radius), element("label", {}, previewBox, " preview")),
    element("div", { class: "samlite-stage" }, element("div", { class: "samlite-photo" }, canvas), candidates),
    error, said, element("div", { class: "samlite-code" }, element("pre", { tabindex: 0, "aria-label": "the same in Python" }, code), copy), times,
    element("details", { class: "samlite-keys" }, element("summary", {}, "Mouse and keys"),
      element("dl", {}, ...KEYS.flatMap(([key, does]) => [element("dt", {}, key), element("dd", {}, does)]))));
  root.style.setProperty("--photo", `min(800px, calc(70vh * ${frame.width / frame.height}))`); // the whole photo in view
  el.append(root);

  const say = (text) => { said.textContent = text; };
  const setTool = (name) => { tool.name = name; endHover(); showControls(); };
  const setLabel = (label) => { tool.label = label; showControls(); };
  const canStep = (kind) => { // what the last reply allows; the kernel checks again
    const reply = model.get("reply");
    return { undo: reply.can_undo, redo: reply.can_redo, clear: reply.points.length || reply.box || reply.painted }[kind];
  };
  const step = (kind) => { if (waiting.length || canStep(kind)) act(kind); };

  function showControls() {
    for (const [name, node] of Object.entries(tools)) node.setAttribute("aria-pressed", tool.name === name);
    for (const [label, node] of Object.entries(labels)) node.setAttribute("aria-pressed", tool.label === Number(label));
    for (const [kind, node] of Object.entries({ undo, redo, clear })) node.disabled = !canStep(kind);
    radius.value = tool.radius;
  }

  // ---------------------------------------------------------------- messages to the kernel and back

  function after(milliseconds, act) {
    const timer = setTimeout(() => { timers.delete(timer); act(); }, milliseconds);
    timers.add(timer);
    return timer;
  }

  function act(kind, content = {}) {
    endHover();
    number += 1;
    const patience = after(8000, () => {
      error.textContent = "No answer from the kernel for 8 seconds: it is busy with another cell, or it has stopped. Then run this cell again.";
    });
    waiting.push({ kind, number, patience, ...content });
    model.send({ kind, view, number, ...content });
    draw();
  }

  function choose(k) {
    if (k >= shown.masks.length) return;
    shown.chosen = k; // at once: the kernel only has to know
    act("choose", { k });
    showCandidates();
  }

  function makeLayers() { // the rim is two pixels of the page: anew when the photo has another size there
    const reply = model.get("reply");
    shown.masks = reply.iou_predictions.map((_, k) => maskLayer(reply.masks, k, colours.mask));
    shown.painted = reply.painted && maskLayer(reply.painted, 0, colours.painted);
  }

  function onReply() {
    const reply = model.get("reply");
    makeLayers();
    shown.chosen = reply.chosen;
    shown.preview = null;
    if (reply.to && reply.to[0] === view) {
      for (const action of waiting) if (action.number <= reply.to[1]) clearTimeout(action.patience);
      waiting = waiting.filter((action) => action.number > reply.to[1]);
    }
    error.textContent = reply.error || "";
    code.textContent = reply.code;
    say(reply.said);
    const decode = reply.decode_milliseconds === null ? "" : ` · decode ${reply.decode_milliseconds.toFixed(0)} ms, for each prompt`;
    times.textContent = `encode ${reply.encode_milliseconds.toFixed(0)} ms, once for the photo${decode}`;
    showControls();
    showCandidates();
    draw();
    root.dataset.replies = Number(root.dataset.replies || 0) + 1; // for a test that waits for it
  }

  // Preview under the mouse: one question at a time, and after each a rest as long as its answer took.

  const hover = { at: null, asked: null, sent: 0, resting: false, slow: 0 };

  function endHover() {
    hover.at = null;
    if (shown.preview) { shown.preview = null; draw(); }
  }

  function askPreview() {
    if (!hover.at || hover.asked || hover.resting || waiting.length || document.hidden) return;
    number += 1;
    hover.asked = number;
    hover.sent = performance.now();
    model.send({ kind: "hover", view, number, label: tool.label, ...hover.at });
  }

  function onPreview(message, buffers) {
    if (message.view !== view || message.number !== hover.asked) return;
    const took = performance.now() - hover.sent;
    hover.asked = null;
    hover.resting = true;
    after(Math.max(30, took), () => { hover.resting = false; askPreview(); });
    hover.slow = took > 300 ? hover.slow + 1 : 0;
    if (message.error || hover.slow >= 3) {
      previewBox.checked = false;
      if (message.error) error.textContent = message.error;
      else say(`Preview switched off: one takes ${Math.round(took)} ms here.`);
      endHover();
    } else if (hover.at && !waiting.length) {
      shown.preview = maskLayer(buffers[0], 0, colours.preview);
      draw();
    }
  }

  // ---------------------------------------------------------------- drawing

  function maskLayer(packed, k, colour) {
    const { shown_width: width, shown_height: height } = frame;
    const rim = Math.max(1, Math.round((2 * width) / Math.max(1, canvas.clientWidth)));
    return layer(unpack(packed, k, width * height), width, height, colour, rim);
  }

  let scheduled = null;
  function draw() {
    scheduled ??= requestAnimationFrame(() => { scheduled = null; paint(); });
  }

  function paint() {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const unit = width / Math.max(1, canvas.clientWidth); // one pixel of the page
    const place = ([x, y]) => [((x + 0.5) / frame.width) * width, ((y + 0.5) / frame.height) * height];
    context.clearRect(0, 0, width, height);
    if (shown.photo) context.drawImage(shown.photo, 0, 0, width, height);
    const over = shown.preview || shown.masks[shown.chosen];
    for (const each of [over, shown.painted]) if (each) context.drawImage(each, 0, 0, width, height);

    const reply = model.get("reply");
    const twice = (colour, thickness, path) => { // a coloured line with a black rim is seen on any photo
      for (const [style, extra] of [["#000", 2], [colour, 0]]) {
        context.strokeStyle = style;
        context.lineWidth = (thickness + extra) * unit;
        context.beginPath();
        path();
        context.stroke();
      }
    };
    const strokes = waiting.filter((action) => action.kind === "brush");
    if (hand?.kind === "stroke") strokes.push(hand);
    if (keyboard.stroke) strokes.push(keyboard.stroke);
    for (const stroke of strokes) {
      context.save();
      context.globalAlpha = 0.6;
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = stroke.erase ? "#fff" : css("painted");
      context.lineWidth = ((2 * stroke.radius) / frame.width) * width;
      context.beginPath();
      context.moveTo(...place(stroke.path[0]));
      for (const point of stroke.path) context.lineTo(...place(point));
      context.stroke();
      context.restore();
    }
    const boxes = [...waiting.filter((action) => action.kind === "box").map((action) => action.box)];
    if (hand?.kind === "box") boxes.push([...hand.start, ...hand.end]);
    if (keyboard.corner) boxes.push([...keyboard.corner, ...keyboard.at]);
    for (const box of boxes.length ? boxes.slice(-1) : reply.box ? [reply.box] : []) {
      const [x0, y0] = place(box.slice(0, 2));
      const [x1, y1] = place(box.slice(2));
      twice(css("box"), 2, () => context.rect(x0, y0, x1 - x0, y1 - y0));
    }
    const clicks = waiting.filter((action) => action.kind === "click").map(({ x, y, label }) => [x, y, label]);
    for (const [x, y, label] of [...reply.points, ...clicks]) marker(context, place([x, y]), label, unit);
    if (keyboard.at && canvas.matches(":focus")) {
      const [x, y] = place(keyboard.at);
      twice("#fff", 1.5, () => {
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(x + 5 * dx * unit, y + 5 * dy * unit);
          context.lineTo(x + 22 * dx * unit, y + 22 * dy * unit);
        }
      });
    }
  }

  function marker(context, [x, y], label, unit) { // a disc with a plus, or a square with a minus
    const r = 8 * unit;
    const form = (size) => {
      context.beginPath();
      if (label) context.arc(x, y, size, 0, 2 * Math.PI);
      else context.rect(x - size, y - size, 2 * size, 2 * size);
      context.fill();
    };
    for (const [style, size] of [["#000", r + 3 * unit], ["#fff", r + 1.5 * unit], [css(label ? "foreground" : "background"), r]]) {
      context.fillStyle = style;
      form(size);
    }
    context.fillStyle = "#fff";
    context.fillRect(x - 0.6 * r, y - 0.15 * r, 1.2 * r, 0.3 * r);
    if (label) context.fillRect(x - 0.15 * r, y - 0.6 * r, 0.3 * r, 1.2 * r);
  }

  function showCandidates() {
    const reply = model.get("reply");
    const focused = [...candidates.children].indexOf(document.activeElement);
    candidates.replaceChildren(...shown.masks.map((mask, k) => {
      const small = element("canvas", { width: 256, height: Math.max(1, Math.round((256 * frame.height) / frame.width)) });
      const context = small.getContext("2d");
      for (const each of [shown.photo, mask]) if (each) context.drawImage(each, 0, 0, small.width, small.height);
      const iou = reply.iou_predictions[k].toFixed(2);
      const node = button("", `Use candidate masks[${k}] (key ${k + 1})`, () => choose(k), {
        "aria-pressed": k === shown.chosen, "aria-label": `masks[${k}], predicted IoU ${iou}`,
      });
      node.append(small, element("code", {}, `masks[${k}]`), k === shown.chosen ? " ✓" : "", element("span", {}, `predicted IoU ${iou}`));
      return node;
    }));
    candidates.children[focused]?.focus();
  }

  // ---------------------------------------------------------------- mouse, pen and finger

  function locate(event) { // the pixel of the photo under the pointer, also when the page is zoomed or scaled
    const area = canvas.getBoundingClientRect();
    const pixel = (offset, extent, count) => Math.min(count - 1, Math.max(0, Math.floor((offset / extent) * count)));
    return [pixel(event.clientX - area.left, area.width, frame.width), pixel(event.clientY - area.top, area.height, frame.height)];
  }

  const sorted = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];

  function drawBox(start, end) {
    const box = sorted(start, end);
    if (box[0] < box[2] && box[1] < box[3]) act("box", { box });
    else say("A box needs two different corners.");
  }

  function extend(stroke, point) { // a path needs no more points than its radius can show
    const last = stroke.path[stroke.path.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= Math.max(1, stroke.radius / 3)) stroke.path.push(point);
  }

  const sendStroke = ({ path, radius: size, erase }) => act("brush", { path, radius: size, erase });

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button === 1) return;
    if (hand) { // a second finger: neither of the two means a place
      hand = null;
      draw();
      return;
    }
    const other = event.button === 2 || event.shiftKey; // background, or erase
    const at = locate(event);
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    keyboard.at = keyboard.corner = keyboard.stroke = null;
    keyboard.start = at;
    endHover();
    if (tool.name === "brush") hand = { kind: "stroke", pointer: event.pointerId, path: [at], radius: tool.radius, erase: other };
    else hand = { kind: "press", pointer: event.pointerId, start: at, end: at, label: other ? 0 : tool.label, from: [event.clientX, event.clientY], drags: !other };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (hand && hand.pointer !== event.pointerId) return;
    if (hand?.kind === "stroke") {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) extend(hand, locate(each));
      draw();
    } else if (hand) {
      hand.end = locate(event);
      if (hand.drags && Math.hypot(event.clientX - hand.from[0], event.clientY - hand.from[1]) > 4) hand.kind = "box";
      draw();
    } else if (previewBox.checked && tool.name === "point" && event.pointerType === "mouse") {
      const [x, y] = locate(event);
      hover.at = { x, y };
      askPreview();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (hand?.pointer !== event.pointerId) return;
    const done = hand;
    hand = null;
    if (done.kind === "press") act("click", { x: done.start[0], y: done.start[1], label: done.label });
    else if (done.kind === "box") drawBox(done.start, done.end);
    else sendStroke(done);
    draw();
  });
  canvas.addEventListener("pointercancel", (event) => {
    if (hand?.pointer !== event.pointerId) return;
    hand = null;
    draw();
  });
  canvas.addEventListener("pointerleave", () => endHover());
  canvas.addEventListener("contextmenu", (event) => { event.preventDefault(); event.stopPropagation(); });

  // ---------------------------------------------------------------- keyboard

  function move(dx, dy, far) {
    const stride = far ? Math.max(1, Math.round(longest / 50)) : 1;
    const [x, y] = crosshair();
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    keyboard.at = [inside(x + dx * stride, frame.width), inside(y + dy * stride, frame.height)];
    if (keyboard.stroke) extend(keyboard.stroke, keyboard.at);
    say(`x ${keyboard.at[0]}, y ${keyboard.at[1]}`);
  }

  const crosshair = () => (keyboard.at ??= keyboard.start ?? [Math.floor(frame.width / 2), Math.floor(frame.height / 2)]);

  const placePoint = (label) => { const [x, y] = crosshair(); act("click", { x, y, label }); };

  function boxKey() {
    const corner = keyboard.corner;
    keyboard.corner = corner ? null : crosshair();
    if (corner) drawBox(corner, keyboard.at);
    else say("First corner: move to the other one and press b again.");
  }

  function brushKey() {
    const stroke = keyboard.stroke;
    keyboard.stroke = stroke ? null : { path: [crosshair()], radius: tool.radius, erase: false };
    setTool(stroke ? "point" : "brush");
    if (stroke) sendStroke(stroke);
    else say("Painting: move with the arrow keys, m ends the stroke, e changes between painting and erasing.");
  }

  function setRadius(factor) {
    const scaled = Math.round(tool.radius * factor);
    const next = scaled === tool.radius ? scaled + Math.sign(factor - 1) : scaled; // small ones by one pixel
    tool.radius = Math.min(Number(radius.max), Math.max(1, next));
    if (keyboard.stroke) keyboard.stroke.radius = tool.radius;
    say(`Brush radius ${tool.radius} pixels.`);
    showControls();
  }

  function escape() {
    keyboard.corner = keyboard.stroke = hand = null;
    setTool("point");
  }

  const onKey = {
    ArrowLeft: (far) => move(-1, 0, far), ArrowRight: (far) => move(1, 0, far), ArrowUp: (far) => move(0, -1, far), ArrowDown: (far) => move(0, 1, far),
    "+": () => placePoint(1), "=": () => placePoint(1), "-": () => placePoint(0), _: () => placePoint(0),
    Enter: (plain) => placePoint(plain ? 1 : 0), b: boxKey, m: brushKey, Escape: escape,
    e: () => { if (keyboard.stroke) keyboard.stroke.erase = !keyboard.stroke.erase; },
    "[": () => setRadius(1 / 1.25), "]": () => setRadius(1.25),
    u: () => step("undo"), r: () => step("redo"), x: () => step("clear"), Delete: () => step("clear"),
    1: () => choose(0), 2: () => choose(1), 3: () => choose(2),
    p: () => { previewBox.checked = !previewBox.checked; endHover(); },
  };

  function actionOf(event) {
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      if (key === "z") return () => step(event.shiftKey ? "redo" : "undo");
      return key === "y" ? () => step("redo") : undefined;
    }
    const action = event.altKey ? undefined : onKey[event.key] ?? onKey[event.key.toLowerCase()]; // also with caps lock
    return action && (() => action(!event.shiftKey));
  }

  canvas.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
    draw();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);

  // Jupyter reads keys before the page does (b would insert a cell, x cut one), except on an element with this attribute.
  // With ctrl it keeps its own, so that ctrl S still saves.
  const guard = (event) => {
    if (!event.composedPath().includes(root)) return;
    const ours = !(event.ctrlKey || event.metaKey) || (event.composedPath()[0] === canvas && actionOf(event));
    event.target.toggleAttribute("data-lm-suppress-shortcuts", Boolean(ours));
  };
  window.addEventListener("keydown", guard, true);

  // ---------------------------------------------------------------- begin and end

  function fit() { // one pixel of the canvas for each of the screen
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.clientWidth) { // 0 until the page holds the canvas
      makeLayers();
      showCandidates();
    }
    paint(); // in the same frame: a resized canvas is blank
  }

  const observer = new ResizeObserver(fit);
  observer.observe(canvas);
  let screen = null; // the observer counts in pixels of the page, and sees no zoom that leaves their number as it is
  function watchScreen() {
    screen?.removeEventListener("change", onZoom);
    screen = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    screen.addEventListener("change", onZoom);
  }
  function onZoom() {
    watchScreen();
    fit();
  }
  watchScreen();
  createImageBitmap(new Blob([bytesOf(model.get("picture_file"))])).then(
    (bitmap) => { shown.photo = bitmap; showCandidates(); draw(); },
    (problem) => { error.textContent = `The photo could not be shown: ${problem.message}`; },
  );
  model.on("change:reply", onReply);
  model.on("msg:custom", onPreview);
  onReply();

  return () => {
    model.off("change:reply", onReply);
    model.off("msg:custom", onPreview);
    window.removeEventListener("keydown", guard, true);
    observer.disconnect();
    screen.removeEventListener("change", onZoom);
    for (const timer of timers) clearTimeout(timer);
  };
}

export default { render };
