// The decoder explorer in the browser: a click that can be moved, and what one token does in one stage of the decoder.
// It computes nothing: a choice goes to the kernel as x, y, block, stage, token and head, and comes back as colours.

const STYLE = `
.samlite-decoder { --map: 230px; max-width: 1060px; }`;

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

  const { root, tell } = frameOf("samlite-decoder", STYLE,
    element("div", { class: "maps" }, photo.figure, attention.figure, logits.figure),
    element("div", { class: "bar" },
      element("label", {}, "block", block, blockShown),
      element("label", {}, "stage", stage),
      element("label", {}, "token", token),
      element("label", {}, "attention of", head)));

  let picture = null, grey = null;

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

  function drawOver(canvas, colours, cells) {
    const [right, bottom] = model.get("reply").extent; // the padding falls outside
    const context = drawMap(canvas, grey, tile(colours, cells), right * scale, bottom * scale);
    drawPrompt(context);
    return context;
  }

  // Token by token: rows ask, columns answer; the row of the chosen token has a frame.
  function drawMatrix(canvas, colours, cells) {
    const context = canvas.getContext("2d"), whole = Math.min(WIDE, HIGH), side = whole / cells;
    const left = (WIDE - whole) / 2, top = (HIGH - whole) / 2;
    context.clearRect(0, 0, WIDE, HIGH);
    context.imageSmoothingEnabled = false;
    context.drawImage(tile(colours, cells), left, top, whole, whole);
    outlined(context, (c) => c.rect(left + 3, top + model.get("token") * side + 3, whole - 6, side - 6));
  }

  function draw() {
    const reply = model.get("reply");
    block.value = model.get("block");
    blockShown.textContent = `${model.get("block")} of ${blocks - 1}`;
    stage.value = model.get("stage");
    token.value = model.get("token");
    head.value = model.get("head");
    tell(reply);
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
      cross(drawOver(attention.canvas, reply.map, reply.cells), ...onDrawing(...reply.peak), 8);
    } else drawMatrix(attention.canvas, reply.map, reply.cells);
    drawOver(logits.canvas, reply.logits, reply.logit_cells);
  }

  whenPressed(photo.canvas, (event) => {
    const frame = photo.canvas.getBoundingClientRect();
    choose(model, {
      x: clamp(Math.floor(((event.clientX - frame.left) / frame.width) * width), 0, width - 1),
      y: clamp(Math.floor(((event.clientY - frame.top) / frame.height) * height), 0, height - 1),
    });
  });
  photo.canvas.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const key = event.key.toLowerCase(); // also with caps lock
    const far = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 32));
    if (ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key];
      choose(model, { x: clamp(model.get("x") + far * right, 0, width - 1), y: clamp(model.get("y") + far * down, 0, height - 1) });
    } else if (event.key === "Home") choose(model, { token: 0 });
    else if (event.key === "End") choose(model, { token: tokens.length - 1 });
    else if (event.key === "PageUp") choose(model, { block: clamp(model.get("block") + 1, 0, blocks - 1) });
    else if (event.key === "PageDown") choose(model, { block: clamp(model.get("block") - 1, 0, blocks - 1) });
    else if (key === "s") choose(model, { stage: stages[(stages.indexOf(model.get("stage")) + 1) % stages.length] });
    else if (key === "h") choose(model, { head: model.get("head") + 1 < heads ? model.get("head") + 1 : -1 });
    else return;
    event.preventDefault();
  });
  block.addEventListener("input", () => choose(model, { block: Number(block.value) }));
  stage.addEventListener("change", () => choose(model, { stage: stage.value }));
  token.addEventListener("change", () => choose(model, { token: Number(token.value) }));
  head.addEventListener("change", () => choose(model, { head: Number(head.value) }));

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
