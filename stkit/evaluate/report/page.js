"use strict";
// Without this script a page shows everything but the other frames of an animation.

for (const player of document.querySelectorAll(".player")) {
  const slider = player.querySelector("input");
  const button = player.querySelector("button");
  const label = player.querySelector("output");
  const labels = JSON.parse(player.dataset.labels);
  const stages = [...player.querySelectorAll(".stage")].map((stage) => [...stage.querySelectorAll("img")]);
  let timer = null;

  const show = (frame) => {
    slider.value = frame;
    slider.setAttribute("aria-valuetext", labels[frame]);
    label.textContent = labels[frame];
    for (const images of stages) {
      for (const image of images) image.classList.toggle("on", Number(image.dataset.frame) === frame);
    }
  };
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    button.textContent = "Play";
  };
  const step = () => {
    const last = Number(slider.value) === labels.length - 1;
    show(last ? 0 : Number(slider.value) + 1);
    timer = setTimeout(step, Number(slider.value) === labels.length - 1 ? 1500 : 500);
  };
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    button.textContent = "Pause";
    step();
  });
  show(Number(slider.value));
  player.querySelector(".controls").hidden = false;
}

// As a spreadsheet reads it: a plain minus, nothing where nothing is defined.
const plain = (text) => text.trim().replace(/\s+/g, " ").replaceAll("\u2212", "-").replace(/^\u2013$/, "");

const words = (cell) => {
  const copy = cell.cloneNode(true);
  for (const hidden of copy.querySelectorAll(".hidden, small")) hidden.remove();
  return plain(copy.textContent);
};

const put = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not let a page copy");
};

for (const button of document.querySelectorAll("button.copy")) {
  const table = button.closest(".score").querySelector("table");
  const lines = () => [...table.rows].flatMap((row) => {
    const cells = [...row.cells];
    const ends = (side) => cells.map((cell) => plain(cell.querySelector("small")?.dataset[side] ?? ""));
    const rows = [cells.map(words)];
    for (const side of ["low", "high"]) {
      const [, ...values] = ends(side);
      if (values.some((value) => value)) rows.push([`${words(cells[0])}, 95 % ${side}`, ...values]);
    }
    return rows.map((row) => row.join("\t"));
  });
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await put(lines().join("\n") + "\n");
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied: select the table";
    }
    setTimeout(() => (button.textContent = "Copy table"), 2500);
  });
}
