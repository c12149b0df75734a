// Draws the points as a sketch, and returns what draws them by Plotly.
function latent() {
  const { points, views } = data;
  const plot = element("scatter");
  const form = element("controls");
  const groups = Object.keys(points.groups);
  // Thousands of points are drawn by the graphics card where there is one.
  const kind = points.count > 1000 && webgl() ? "scattergl" : "scatter";
  let visible = [];
  let chosen = -1;

  const control = (name) => form.elements.namedItem(name);
  const view = () => views[Number(control("view")?.value ?? 0)];
  const colored = () => control("color").value;
  const valueOf = (group, index) => String(points.groups[group].ids[points.groups[group].of[index]]);
  const nameOf = (group, index) => points.groups[group].names[points.groups[group].of[index]];

  function filter() {
    const wanted = groups.filter((group) => control(group).value !== "");
    visible = [];
    for (let index = 0; index < view().x.length; index += 1) {
      if (wanted.every((group) => valueOf(group, index) === control(group).value)) visible.push(index);
    }
  }

  function ring() {
    const at = visible.includes(chosen) ? [chosen] : [];
    return { x: at.map((i) => view().x[i]), y: at.map((i) => view().y[i]) };
  }

  const colorOf = (group, position) => {
    const [name, place] = group.colors[position];
    return palette()[name][place];
  };

  // Anchors in one place have one text.
  function anchorTexts({ anchors, range }) {
    const near = (one, other) => [0.025, 0.035].every((share, axis) =>
      Math.abs(anchors[one][axis] - anchors[other][axis]) < share * (range[axis][1] - range[axis][0]));
    const places = [];
    anchors.forEach((_, k) => {
      const place = places.find((members) => near(members[0], k));
      if (place) place.push(k);
      else places.push([k]);
    });
    const texts = anchors.map(() => "");
    places.forEach((members) => { texts[members[0]] = members.join(", "); });
    return texts;
  }

  function draw() {
    const { x, y, axes, anchors, range, units } = view();
    const group = points.groups[colored()];
    const [front, back] = [ink("--ink"), ink("--ground")];
    const size = Math.min(Math.max(9000 / Math.max(visible.length, 1), 4), 9);
    if (!globalThis.Plotly) return sketch(plot, view(), visible, (i) => colorOf(group, group.of[i]), size);
    const traces = [{
      type: kind, mode: "markers", hoverinfo: "none", opacity: 0.85,
      x: visible.map((i) => x[i]), y: visible.map((i) => y[i]),
      marker: {
        size, color: visible.map((i) => colorOf(group, group.of[i])),
        symbol: visible.map((i) => group.symbols[group.of[i]]),
      },
    }, {
      type: kind, mode: "markers+text", hoverinfo: "skip",
      x: anchors.map((a) => a[0]), y: anchors.map((a) => a[1]), text: anchorTexts(view()),
      textposition: "top right", cliponaxis: false, textfont: { size: 15, weight: "bold", color: front, shadow: [1, 2, 3, 4].map((width) => `0 0 ${width}px ${back}`).join() },
      marker: { size: 14, symbol: "star", color: front, line: { color: back, width: 1 } },
    }, {
      type: kind, mode: "markers", hoverinfo: "skip", ...ring(),
      marker: { size: 18, symbol: "circle-open", color: front, line: { color: front, width: 3 } },
    }];
    return Plotly.react(plot, traces, {
      ...look(), showlegend: false, hovermode: "closest", dragmode: touch ? false : "zoom",
      margin: EDGES, uirevision: axes.join(),
      xaxis: { ...axis(), title: { text: axes[0] }, range: range[0], zeroline: false, showticklabels: units },
      yaxis: { ...axis(), title: { text: axes[1] }, range: range[1], zeroline: false, showticklabels: units },
    }, { ...settings, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  }

  function legend() {
    const name = colored();
    const group = points.groups[name];
    const counts = new Map();
    visible.forEach((i) => counts.set(group.of[i], (counts.get(group.of[i]) ?? 0) + 1));
    element("legend").replaceChildren(...group.names.map((text, position) => {
      const value = String(group.ids[position]);
      const sign = make("span", { textContent: group.signs[position], ariaHidden: "true" });
      sign.style.color = colorOf(group, position);
      const count = (counts.get(position) ?? 0).toLocaleString("en");
      const button = make("button", { type: "button" }, sign, ` ${text} (${count})`);
      button.setAttribute("aria-pressed", String(control(name).value === value));
      button.addEventListener("click", () => {
        control(name).value = control(name).value === value ? "" : value;
        update();
        element("legend").children[position].focus();
      });
      return button;
    }));
  }

  const decoded = new Map();
  function drawPicture(index) {
    const { pictures } = points;
    const canvas = element("picture");
    canvas.hidden = !pictures || index >= pictures.count;
    if (canvas.hidden) return;
    const [height, width] = pictures.tile;
    const perSheet = pictures.columns * pictures.rows;
    const sheet = Math.floor(index / perSheet);
    if (!decoded.has(sheet)) decoded.set(sheet, Object.assign(new Image(), { src: pictures.sheets[sheet] }));
    const image = decoded.get(sheet);
    const place = index % perSheet;
    const left = (place % pictures.columns) * Math.ceil(width / 8) * 8;
    const top = Math.floor(place / pictures.columns) * Math.ceil(height / 8) * 8;
    const scale = Math.max(1, Math.round(160 / Math.max(height, width)));
    canvas.setAttribute("aria-label", `Picture of ${describe(index)}`);
    image.decode().then(() => {
      if (chosen !== index) return;
      canvas.width = width * scale;
      canvas.height = height * scale;
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
    });
  }

  function describe(index) {
    const parts = groups.filter((group) => group !== "split").map((group) => `${group} ${nameOf(group, index)}`);
    return [`example ${points.number[index]}`, ...parts].join(", ");
  }

  function fillRow(index) {
    const { rows } = points;
    if (!rows) return;
    const lines = rows.columns.map((name, place) => make("tr", {},
      make("th", { scope: "row", textContent: name }), make("td", { className: "number", textContent: rows.values[index][place] })));
    element("row").replaceChildren(make("tbody", {}, ...lines));
    element("row-note").textContent = rows.left_out ? `and ${rows.left_out.toLocaleString("en")} features that differ less` : "";
  }

  function fillCard() {
    const index = chosen;
    const nothing = index < 0;
    element("hint").hidden = !nothing;
    element("about").hidden = nothing;
    element("features").hidden = nothing || !points.rows;
    element("text").hidden = nothing || !points.texts;
    element("picture").hidden = true;
    if (!nothing) {
      if (points.texts) element("text").textContent = points.texts[index];
      const facts = [["example", points.number[index]], ...groups.map((group) => [group, nameOf(group, index)]),
        ["distance to the anchor", points.distance[index]]];
      element("about").replaceChildren(...facts.map(([name, value]) =>
        make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
      fillRow(index);
      drawPicture(index);
    }
  }

  function choose(index, keep = true) {
    chosen = index;
    fillCard();
    const { x, y } = ring();
    if (globalThis.Plotly) Plotly.restyle(plot, { x: [x], y: [y] }, [2]);
    if (keep) remember();
  }

  function move(right, up) {
    if (!visible.length) return;
    const { x, y, range } = view();
    const width = range[0][1] - range[0][0];
    const height = range[1][1] - range[1][0];
    const start = visible.includes(chosen);
    const origin = start ? [x[chosen], y[chosen]] : [(range[0][0] + range[0][1]) / 2, (range[1][0] + range[1][1]) / 2];
    let best = -1;
    let least = Infinity;
    visible.forEach((i) => {
      const across = (x[i] - origin[0]) / width;
      const upward = (y[i] - origin[1]) / height;
      const along = across * right + upward * up;
      const aside = Math.abs(across * up) + Math.abs(upward * right);
      if (start && (i === chosen || along <= 0 || aside > along)) return;
      const distance = across * across + upward * upward;
      if (distance < least) [best, least] = [i, distance];
    });
    if (best >= 0) choose(best);
  }

  function remember() {
    const state = new URLSearchParams();
    for (const name of ["view", "color", ...groups]) {
      const field = control(name);
      if (field && field.value !== field.options[0].value) state.set(name, field.value);
    }
    if (chosen >= 0) state.set("example", String(chosen));
    if (!String(state) && !location.hash.includes("=")) return;
    const address = String(state) ? `#${state}` : location.pathname + location.search;
    try {
      history.replaceState(null, "", address);
    } catch { /* a page without an address of its own */ }
  }

  function recall() {
    if (location.hash && !location.hash.includes("=")) return false;
    const state = new URLSearchParams(location.hash.slice(1));
    for (const name of ["view", "color", ...groups]) {
      const field = control(name);
      const known = field && [...field.options].some((option) => option.value === state.get(name));
      if (field) field.value = known ? state.get(name) : field.options[0].value;
    }
    const index = Number(state.get("example") ?? -1);
    chosen = Number.isInteger(index) && index >= 0 && index < points.count ? index : -1;
    return true;
  }

  function update() {
    filter();
    if (!visible.includes(chosen)) chosen = -1;
    const shown = visible.length.toLocaleString("en");
    element("status").textContent = `${shown} of ${view().x.length.toLocaleString("en")} examples shown`;
    legend();
    fillCard();
    remember();
    return draw();
  }

  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  element("all").addEventListener("click", () => {
    groups.forEach((group) => { control(group).value = ""; });
    update();
  });
  dark.addEventListener("change", update);
  addEventListener("hashchange", () => {
    if (!recall()) return;
    update();
    element("latent").scrollIntoView();
  });
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "Escape") choose(-1);
    else if (event.key in steps) move(...steps[event.key]);
    else return;
    event.preventDefault();
  });

  recall();
  update();
  const pick = (event, keep) => {
    const point = event.points.find((one) => one.curveNumber === 0);
    if (point) choose(visible[point.pointNumber], keep);
  };
  return () => {
    plot.replaceChildren();
    const drawn = draw();
    plot.on("plotly_hover", (event) => pick(event, false));
    plot.on("plotly_click", (event) => pick(event, true));
    return drawn;
  };
}
