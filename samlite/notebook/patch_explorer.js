// The patch explorer in the browser: a photo whose patches can be picked, and three views of the one that is chosen.
// It computes nothing: a choice goes to the kernel as row, column, block, head and step, and comes back as colours.

const STYLE = `
.samlite-patches { max-width: 1000px; }
.samlite-patches canvas { image-rendering: pixelated; }
.samlite-patches .planes { display: grid; grid-template-columns: repeat(4, minmax(60px, 120px)); gap: 10px; margin: 8px 0; }`;

function render({ model, el }) {
  const { grid, blocks, heads, steps } = model.get("sizes");
  const SIDE = 480; // pixels of a drawn map; the page shows it smaller or larger
  const cell = SIDE / grid;
  const map = { width: SIDE, height: SIDE }, small = { width: 96, height: 96 };

  const photo = panel("photo", "the photo: pick a patch", {
    ...map, tabindex: 0, role: "application",
    "aria-label": "Photo. Arrow keys pick a patch; home and end go to the first and last of the row; page up and page down change the block.",
  });
  const attention = panel("attention", "attention: dark for little, bright for much, × for most", map);
  const likeness = panel("likeness", "likeness: violet for unlike, white for neither, brown for alike", map);
  const patch = panel("patch", "the patch", small);
  const planes = ["red", "green", "blue"].map((name) => panel(name, `${name} values`, small));

  const block = element("input", { type: "range", min: 0, max: blocks - 1, step: 1 });
  const blockShown = element("output");
  const head = menu([[-1, "mean of all heads"], ...Array.from({ length: heads }, (_, i) => [i, `head ${i}`])]);
  const step = menu(steps.map((name) => [name, name.replaceAll("_", " ")]));
  const { root, tell } = frameOf("samlite-patches", STYLE,
    element("div", { class: "maps" }, photo.figure, attention.figure, likeness.figure),
    element("div", { class: "bar" },
      element("label", {}, "block", block, blockShown),
      element("label", {}, "attention of", head),
      element("label", {}, "likeness by", step)),
    element("div", { class: "planes" }, patch.figure, ...planes.map((plane) => plane.figure)));

  let picture = null, grey = null;
  const ring = (context, row, column) => outlined(context, (c) => c.rect(column * cell, row * cell, cell, cell));

  function draw() {
    const reply = model.get("reply"), row = model.get("row"), column = model.get("column");
    block.value = model.get("block");
    blockShown.textContent = `${model.get("block")} of ${blocks - 1}`;
    head.value = model.get("head");
    step.value = model.get("step");
    tell(reply);
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
    const over = drawMap(attention.canvas, grey, tile(reply.attention, grid));
    ring(over, row, column);
    cross(over, (reply.peak[1] + 0.5) * cell, (reply.peak[0] + 0.5) * cell, 9);
    ring(drawMap(likeness.canvas, grey, tile(reply.similarity, grid)), row, column);
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

  whenPressed(photo.canvas, (event) => {
    const box = photo.canvas.getBoundingClientRect();
    choose(model, {
      column: clamp(Math.floor(((event.clientX - box.left) / box.width) * grid), 0, grid - 1),
      row: clamp(Math.floor(((event.clientY - box.top) / box.height) * grid), 0, grid - 1),
    });
  });
  photo.canvas.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const row = model.get("row"), column = model.get("column"), now = model.get("block");
    if (ARROWS[event.key]) {
      const [right, down] = ARROWS[event.key];
      choose(model, { row: clamp(row + down, 0, grid - 1), column: clamp(column + right, 0, grid - 1) });
    } else if (event.key === "Home") choose(model, { column: 0 });
    else if (event.key === "End") choose(model, { column: grid - 1 });
    else if (event.key === "PageUp") choose(model, { block: clamp(now + 1, 0, blocks - 1) });
    else if (event.key === "PageDown") choose(model, { block: clamp(now - 1, 0, blocks - 1) });
    else return;
    event.preventDefault();
  });
  block.addEventListener("input", () => choose(model, { block: Number(block.value) }));
  head.addEventListener("change", () => choose(model, { head: Number(head.value) }));
  step.addEventListener("change", () => choose(model, { step: step.value }));

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
