// Draws what the simulator has put into the page: lines and bars by uPlot, the layout of a message's tree by
// d3-hierarchy. A figure says of itself whether it was drawn: `data-drawn` is the number of coloured dots or lines in
// it, or 0, with the reason written where the drawing would be.
"use strict";
(() => {
  const { run, all } = JSON.parse(document.getElementById("data").textContent);
  const first = all[0];
  const times = first.series.seconds;
  const problems = [];
  const note = (what) => {
    problems.push(String(what));
    document.body.dataset.problems = problems.join("; ");
  };
  addEventListener("error", (event) => note(event.message));
  addEventListener("unhandledrejection", (event) => note(event.reason));
  addEventListener("securitypolicyviolation", (event) => note(`${event.violatedDirective}: ${event.blockedURI}`));

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const number = (value) => {
    if (value == null) return "";
    const size = Math.abs(value);
    for (const [unit, of] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
      if (size >= of) return `${+(value / of).toPrecision(3)} ${unit}`;
    }
    return String(+value.toPrecision(size >= 100 ? 4 : 3));
  };
  const has = (values) => values.some((value) => value != null && value !== 0);
  const silence = () => (run.planned === 0 ? "The scenario has no messages." : "No message was delivered.");

  // One card a drawing.

  const redraws = [];
  function card({ id, title, unit, about = "", whole = false, nothing, draw }) {
    const figure = document.createElement("figure");
    figure.dataset.chart = id;
    figure.classList.toggle("whole", whole);
    const caption = figure.appendChild(document.createElement("figcaption"));
    const heading = caption.appendChild(document.createElement("h2"));
    heading.textContent = title;
    if (unit) heading.appendChild(document.createElement("span")).textContent = ` · ${unit}`;
    caption.appendChild(document.createElement("p")).textContent = about;
    const plot = figure.appendChild(document.createElement("div"));
    plot.className = "plot";
    document.getElementById("charts").appendChild(figure);
    if (nothing) {
      plot.className = "nothing";
      plot.textContent = nothing;
      figure.dataset.drawn = "0";
      return;
    }
    const redraw = () => {
      plot.textContent = "";
      draw(plot, figure);
    };
    redraws.push(redraw);
  }

  const dots = (canvas, colors) => {
    const wanted = colors.map((css) => {
      const one = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
      one.fillStyle = css;
      one.fillRect(0, 0, 1, 1);
      return one.getImageData(0, 0, 1, 1).data;
    });
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let n = 0;
    for (let at = 0; at < data.length; at += 4) {
      const far = (rgb) => [0, 1, 2].reduce((sum, part) => sum + Math.abs(data[at + part] - rgb[part]), 0);
      if (data[at + 3] > 200 && wanted.some((rgb) => far(rgb) < 24)) n += 1;
    }
    return n;
  };

  // Lines and bars.

  const axis = (more) => ({
    stroke: color("dim"),
    font: "11px system-ui, sans-serif",
    labelFont: "11px system-ui, sans-serif",
    labelSize: 16,
    labelGap: 0,
    gap: 4,
    size: 30,
    grid: { stroke: color("grid"), width: 1 },
    ticks: { stroke: color("grid"), width: 1, size: 4 },
    values: (_, splits) => splits.map(number),
    ...more,
  });

  // What befell the nodes meanwhile.
  function shade({ ctx, bbox, valToPos }) {
    ctx.save();
    ctx.fillStyle = color("b") + "1f";
    for (const { from, until } of run.troubles) {
      const end = bbox.left + bbox.width;
      const [left, right] = [from, until].map((at) => Math.min(end, Math.max(bbox.left, valToPos(at, "x", true))));
      if (left < end) ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
    }
    ctx.restore();
  }

  // `lines` of { label, values, color }, with `dash`, `paths`, `fill`, `points`, `right` (by the scale on the right).
  function chart(plot, figure, { x, lines, bottom, left, right, logX, logY, names, height = 240, least = 0 }) {
    const range = (_, low, high) => [least, high > least ? high + (high - least) * 0.05 : least + 1];
    const isLong = names && names.some((name) => name.length > 3);
    const options = {
      width: plot.clientWidth,
      height,
      padding: [10, right ? 0 : 14, 0, 0],
      scales: {
        x: { time: false, distr: logX ? 3 : 1, range: names ? [-0.6, x.length - 0.4] : undefined },
        y: logY ? { distr: 3 } : { range },
        right: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] },
      },
      axes: [
        names
          ? axis({
              label: bottom,
              size: isLong ? 84 : 26,
              rotate: isLong ? -90 : 0,
              splits: () => x,
              values: () => names,
              grid: { show: false },
            })
          : axis({ label: bottom }),
        axis({ label: left, size: 44 }),
      ],
      cursor: { y: false, points: { size: 6 } },
      series: [
        { label: bottom, value: (_, value) => (names ? names[value] || "" : number(value)) },
        ...lines.map((line) => ({
          label: line.label,
          scale: line.right ? "right" : "y",
          stroke: color(line.color),
          fill: line.fill ? color(line.color) + "55" : undefined,
          width: line.width || 1.6,
          dash: line.dash,
          paths: line.paths,
          spanGaps: line.spanGaps || false,
          points: {
            show: line.points || line.alone || false,
            size: line.points ? 5 : 4,
            fill: line.points ? color(line.color) : undefined,
          },
          value: (_, value) => number(value),
        })),
      ],
      hooks: {
        drawClear: [(made) => bottom === "seconds" && shade(made)],
        ready: [
          (made) => {
            figure.dataset.drawn = dots(made.ctx.canvas, lines.map((line) => color(line.color)));
          },
        ],
      },
    };
    if (right) options.axes.push(axis({ label: right, side: 1, scale: "right", size: 44, grid: { show: false } }));
    plot.made = new uPlot(options, [x, ...lines.map((line) => line.values)], plot);
  }

  const isFar = (values) => {
    const known = values.filter((value) => value > 0);
    return known.length > 1 && Math.max(...known) / Math.min(...known) > 30;
  };

  const palette = ["a", "b", "c", "d"];

  card({
    id: "delivery",
    title: "How soon messages are there",
    unit: "share of deliveries by ms since publish",
    about: (() => {
      const ratio = (one) => `${all.length > 1 ? `${one.protocol} ` : ""}${+(100 * one.deliveryRatio).toFixed(4)} %`;
      return `Of what was due ${all.map(ratio).join(", ")} was delivered. Nodes that came later are left out.`;
    })(),
    nothing: all.every((one) => one.delivery.length === 0) && silence(),
    draw: (plot, figure) => {
      const tables = all.filter((one) => one.delivery.length > 0).map((one) => {
        // Of one time the largest share counts.
        const shares = new Map(one.delivery);
        return [[...shares.keys()], [...shares.values()].map((share) => 100 * share)];
      });
      const [x, ...ys] = tables.length > 1 ? uPlot.join(tables) : tables[0];
      const names = all.filter((one) => one.delivery.length > 0).map((one) => one.protocol);
      const line = { spanGaps: true, alone: x.length < 3 };
      const lines = ys.map((values, n) => ({ label: `${names[n]}, %`, values, color: palette[n % 4], ...line }));
      chart(plot, figure, { x, lines, bottom: "milliseconds", left: "% delivered", logX: isFar(x) });
    },
  });

  card({
    id: "latency",
    title: "Latency over time",
    unit: "ms, by the second of the delivery",
    about: has(first.series.best)
      ? "The best is to 99 % of the nodes over the links that stood when a message was published."
      : "How fast it could have been was not worked out.",
    nothing: !has(first.series.p99) && silence(),
    draw: (plot, figure) => {
      const { p50, p90, p99, best } = first.series;
      const lines = [
        { label: "median", values: p50, color: "a" },
        { label: "90 %", values: p90, color: "d" },
        { label: "99 %", values: p99, color: "b" },
      ];
      if (has(best)) lines.push({ label: "best 99 %", values: best, color: "c", dash: [5, 4], spanGaps: true });
      lines.forEach((line) => (line.alone = true));
      const logY = isFar(lines.flatMap((line) => line.values));
      chart(plot, figure, { x: times, lines, bottom: "seconds", left: "milliseconds", logY });
    },
  });

  card({
    id: "optimum",
    title: "Each message against the graph's optimum",
    unit: "ms, by the second of publishing",
    about: has(run.ratios)
      ? `In the mean ${run.ratios[0]} times the best to 99 %, ${run.ratios[1]} to all. The best waits for no disk.`
      : "",
    nothing:
      run.messages.length === 0 &&
      (run.planned === 0 || run.delivered === 0
        ? silence()
        : "Not worked out: each sender speaks for itself, and there are more than 10,000 nodes."),
    draw: (plot, figure) => {
      const of = (name) => run.messages.map((message) => message[name] || null);
      const mark = { points: true, paths: () => null };
      const lines = [
        { label: "to all", values: of("full_ms"), color: "b", ...mark },
        { label: "to 99 %", values: of("p99_ms"), color: "a", ...mark },
        { label: "best 99 %", values: of("best_p99_ms"), color: "c", alone: true },
        { label: "best to all", values: of("best_full_ms"), color: "d", dash: [5, 4], alone: true },
      ];
      const logY = isFar(lines.flatMap((line) => line.values));
      chart(plot, figure, { x: of("seconds"), lines, bottom: "seconds", left: "milliseconds", logY });
    },
  });

  card({
    id: "copies",
    title: "Copies of a payload that a node gets",
    unit: "copies for each delivery",
    about: `In all ${all.map((one) => `${one.protocol} ${number(one.copies)}`).join(", ")}; 1 is the best there is of a whole run: in one second what was announced before may come.`,
    nothing: all.every((one) => !has(one.series.copies)) && silence(),
    draw: (plot, figure) => {
      const line = (one, n) => ({ label: one.protocol, values: one.series.copies, color: palette[n % 4], alone: true });
      const lines = all.map(line);
      const known = lines.flatMap((line) => line.values.filter((value) => value != null));
      const least = Math.min(1, ...known);
      chart(plot, figure, { x: times, lines, bottom: "seconds", left: "copies", least });
    },
  });

  card({
    id: "bytes",
    title: "Bytes on the wire by purpose",
    unit: "bytes a second and node",
    about: "With everything that transports add.",
    draw: (plot, figure) => {
      const { messageBytes, presenceBytes, discoveryBytes, backgroundBytes } = first.series;
      const lines = [
        { label: "messages", values: messageBytes, color: "a" },
        { label: "presence", values: presenceBytes, color: "b" },
        { label: "background", values: backgroundBytes, color: "c" },
      ];
      if (has(discoveryBytes)) lines.push({ label: "discovery", values: discoveryBytes, color: "d" });
      chart(plot, figure, { x: times, lines, bottom: "seconds", left: "bytes a second" });
    },
  });

  card({
    id: "kinds",
    title: "Bytes by kind of frame",
    unit: "bytes a second and node, on the wire",
    about: "From the first measured message on.",
    nothing: run.kinds.length === 0 && "No frame was sent.",
    draw: (plot, figure) => {
      const names = run.kinds.map(([name]) => name);
      const paths = uPlot.paths.bars({ size: [0.7, 60] });
      const values = run.kinds.map(([, bytes]) => bytes);
      const lines = [{ label: "bytes", values, color: "a", fill: true, paths }];
      const x = names.map((_, n) => n);
      chart(plot, figure, { x, lines, bottom: "kind", left: "bytes a second", names, height: 290 });
    },
  });

  card({
    id: "bandwidth",
    title: "Who carries how much",
    unit: "nodes by bytes a second",
    about: (() => {
      const { of_sent: sent, of_received: received } = run.bandwidth;
      const tell = ([least, median, , most]) => `${number(least)} to ${number(most)}, median ${number(median)}`;
      return `Sent ${tell(sent)}; received ${tell(received)} B/s.`;
    })(),
    nothing: run.bandwidth.edges.length === 0 && "Nothing was sent.",
    draw: (plot, figure) => {
      const { edges, sent, received } = run.bandwidth;
      const paths = uPlot.paths.stepped({ align: 1 });
      const lines = [
        { label: "sent, nodes", values: [...sent, sent.at(-1)], color: "a", fill: true, paths },
        { label: "received, nodes", values: [...received, received.at(-1)], color: "b", fill: true, paths },
      ];
      const isWide = edges.at(-1) / Math.max(edges[0], 1) > 20;
      const x = isWide ? edges.map((edge) => Math.max(edge, 0.5)) : edges;
      chart(plot, figure, { x, lines, bottom: "bytes a second", left: "nodes", logX: isWide });
    },
  });

  card({
    id: "depth",
    title: "How deep the trees are",
    unit: "% of first arrivals by hops from the author",
    nothing: all.every((one) => one.hops.length === 0) && silence(),
    draw: (plot, figure) => {
      const deepest = Math.max(...all.map((one) => one.hops.length));
      const x = Array.from({ length: deepest - 1 }, (_, n) => n + 1);
      const bars = uPlot.paths.bars({ size: [0.7, 60] });
      const lines = all.map((one, n) => {
        const sum = one.hops.reduce((a, b) => a + b, 0) || 1;
        const values = x.map((hops) => (100 * (one.hops[hops] || 0)) / sum);
        return all.length > 1
          ? { label: one.protocol, values, color: palette[n % 4], alone: true }
          : { label: "arrivals, %", values, color: "a", fill: true, paths: bars };
      });
      const names = x.map(String);
      chart(plot, figure, { x: x.map((_, n) => n), lines, bottom: "hops", left: "% of arrivals", names });
    },
  });

  card({
    id: "network",
    title: "Live nodes and links",
    unit: "how many at a time",
    draw: (plot, figure) => {
      const lines = [
        { label: "nodes", values: first.series.up, color: "a", alone: times.length < 3 },
        { label: "links", values: first.series.links, color: "b", right: true, alone: times.length < 3 },
      ];
      chart(plot, figure, { x: times, lines, bottom: "seconds", left: "nodes that run", right: "links" });
    },
  });

  card({
    id: "presence",
    title: "Who is doubted",
    unit: "nodes at a time; false alarms a second",
    about: `${run.falseAlarms} false alarms: who was there and reachable for ten seconds, and was declared gone.`,
    draw: (plot, figure) => {
      const { up, suspected, declaredGone, unnoticed, falseAlarms } = first.series;
      const lines = [
        { label: "suspected", values: suspected, color: "d" },
        { label: "declared gone, running", values: declaredGone, color: "b" },
        { label: "down, not noticed", values: unnoticed, color: "dim" },
        { label: "false alarms", values: falseAlarms, color: "bad", width: 2.4 },
        { label: "running", values: up, color: "a", right: true, dash: [5, 4] },
      ];
      chart(plot, figure, { x: times, lines, bottom: "seconds", left: "nodes doubted", right: "running" });
    },
  });

  // What became of each node: a row each.

  const standings = [
    ["not started", null],
    ["up", "c"],
    ["up, standing still", "fade"],
    ["suspected", "d"],
    ["declared gone, though it runs", "b"],
    ["down, not noticed", "dim"],
    ["down, and known to be", "bad"],
  ];
  const shown = run.rows.length;
  card({
    id: "standings",
    title: "Presence timeline",
    unit: "a row for each node, by seconds",
    about: (() => {
      if (run.nodes <= 100) return "What each node is, and what others say of it.";
      const wavering = `${run.unsteady} of ${run.nodes} nodes were not up and undoubted all the time`;
      return shown < run.unsteady ? `${wavering}; here are ${shown} of them.` : `${wavering}.`;
    })(),
    whole: true,
    nothing: shown === 0 && "All nodes were up all the time, and nobody doubted it.",
    draw: (plot, figure) => {
      const canvas = plot.appendChild(document.createElement("canvas"));
      const [width, row, left, foot] = [plot.clientWidth, Math.max(4, Math.min(12, 480 / shown)), 40, 32];
      const height = Math.ceil(shown * row + foot);
      const dense = devicePixelRatio || 1;
      canvas.width = width * dense;
      canvas.height = height * dense;
      canvas.style.height = `${height}px`;
      const ctx = canvas.getContext("2d");
      ctx.scale(dense, dense);
      ctx.font = "11px system-ui, sans-serif";
      const at = (seconds) => left + (seconds / run.seconds) * (width - left - 10);
      run.rows.forEach(([node, changes], n) => {
        changes.forEach(([seconds, standing], step) => {
          const name = standings[standing][1];
          if (!name) return;
          const end = step + 1 < changes.length ? changes[step + 1][0] : run.seconds;
          ctx.fillStyle = color(name);
          ctx.fillRect(at(seconds), n * row, Math.max(1, at(end) - at(seconds)), Math.max(1, row - 1));
        });
        if (n % Math.ceil(14 / row) === 0) {
          ctx.fillStyle = color("dim");
          ctx.textAlign = "right";
          ctx.fillText(node, left - 6, n * row + Math.max(8, row / 2 + 3));
        }
      });
      ctx.fillStyle = color("dim");
      ctx.textAlign = "center";
      const wanted = run.seconds / Math.max(2, Math.floor((width - left) / 80));
      const power = 10 ** Math.floor(Math.log10(wanted));
      const every = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= wanted);
      for (let seconds = 0; seconds <= run.seconds + 1e-9; seconds += every) {
        ctx.fillText(number(seconds), at(seconds), shown * row + 13);
      }
      ctx.fillText("seconds", left + (width - left) / 2, shown * row + 27);
      const key = plot.appendChild(document.createElement("div"));
      key.className = "key";
      const seen = new Set(run.rows.flatMap(([, changes]) => changes.map(([, standing]) => standing)));
      standings.forEach(([text, name], n) => {
        if (!name || !seen.has(n)) return;
        const entry = key.appendChild(document.createElement("span"));
        entry.appendChild(document.createElement("i")).style.background = color(name);
        entry.append(text);
      });
      figure.dataset.drawn = dots(canvas, standings.flatMap(([, name]) => (name ? [color(name)] : [])));
    },
  });

  // The way of a message.

  const svg = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };

  // Who got it from whom, as far as it leads back to the author.
  function treeOf(path) {
    const rows = [{ id: path.author, ms: 0 }];
    const known = new Set([path.author]);
    let left = path.steps;
    for (let n = -1; n !== left.length; ) {
      n = left.length;
      left = left.filter(([to, from, ms]) => {
        if (known.has(to) || !known.has(from)) return true;
        known.add(to);
        rows.push({ id: to, parent: from, ms });
        return false;
      });
    }
    const hierarchy = d3.stratify().id((row) => row.id).parentId((row) => row.parent);
    return { root: hierarchy(rows), lost: left.length };
  }

  function drawTree(box, path) {
    const { root, lost } = treeOf(path);
    const [size, rim] = [640, 24];
    d3
      .tree()
      .size([2 * Math.PI, size / 2 - rim])
      .separation((a, b) => (a.parent === b.parent ? 1 : 2) / Math.max(1, a.depth))(root);
    const place = (node) => [node.y * Math.sin(node.x), -node.y * Math.cos(node.x)];
    const half = size / 2;
    const image = svg("svg", { class: "tree", viewBox: `${-half} ${-half} ${size} ${size}`, role: "img" }, box);
    const nodes = root.descendants();
    const few = nodes.length <= 60;
    const ways = nodes.slice(1).map((node) => {
      const [[x, y], [u, v]] = [place(node.parent), place(node)];
      const bend = (node.parent.y + node.y) / 2;
      const [a, b] = [bend * Math.sin(node.parent.x), -bend * Math.cos(node.parent.x)];
      const [c, d] = [bend * Math.sin(node.x), -bend * Math.cos(node.x)];
      const line = node.depth === 1 ? `M0,0L${u},${v}` : `M${x},${y}C${a},${b} ${c},${d} ${u},${v}`;
      svg("path", { class: "way", d: line }, image);
      return svg("path", { class: "come", d: line, pathLength: 1, "stroke-dasharray": 1 }, image);
    });
    const marks = nodes.map((node) => {
      const [x, y] = place(node);
      const group = svg("g", { transform: `translate(${x},${y})` }, image);
      if (!node.parent) group.classList.add("author");
      svg("circle", { r: node.parent ? (few ? 5 : 3.2) : 7 }, group);
      if (few) svg("text", { y: node.parent ? 16 : 20 }, group).textContent = node.id;
      const told = node.parent
        ? `from node ${node.parent.id} after ${node.data.ms} ms, ${node.depth} hops`
        : "published it";
      svg("title", {}, group).textContent = `node ${node.id}: ${told}`;
      return group;
    });
    const show = (ms) => {
      let n = 0;
      nodes.forEach((node, at) => {
        const is = node.data.ms <= ms;
        n += is;
        marks[at].classList.toggle("has", is);
        if (!node.parent) return;
        const [from, to] = [node.parent.data.ms, node.data.ms];
        const share = is ? 1 : Math.max(0, Math.min(1, (ms - from) / (to - from || 1)));
        ways[at - 1].setAttribute("stroke-dashoffset", 1 - share);
        ways[at - 1].style.visibility = share > 0 ? "visible" : "hidden";
      });
      return n;
    };
    const depth = root.height;
    return { show, n: nodes.length, lost, depth, drawn: image.querySelectorAll("path.come, circle").length };
  }

  card({
    id: "tree",
    title: "The way of a message",
    unit: "who had it first from whom, by ms since publish",
    about: "From the author outwards, a step for each hop.",
    whole: true,
    nothing:
      run.paths.length === 0 &&
      (run.nodes > run.pathsNodesMax
        ? `Only recorded where there are at most ${run.pathsNodesMax} nodes.`
        : run.delivered === 0
          ? silence()
          : "No measured message was recorded."),
    draw: (plot, figure) => {
      const player = plot.appendChild(document.createElement("div"));
      player.className = "player";
      const choice = player.appendChild(document.createElement("select"));
      choice.setAttribute("aria-label", "message");
      const slowest = Math.max(...run.paths.map((path) => path.took));
      run.paths.forEach((path, n) => {
        const text = `node ${path.author} at ${number(path.seconds)} s: ${number(path.took)} ms`;
        choice.add(new Option(path.took === slowest && run.paths.length > 1 ? `${text}, the slowest` : text, n));
      });
      const button = player.appendChild(document.createElement("button"));
      const slider = player.appendChild(document.createElement("input"));
      Object.assign(slider, { type: "range", min: 0, max: 1000, step: 1, value: 1000 });
      slider.setAttribute("aria-label", "time");
      const told = player.appendChild(document.createElement("output"));
      const box = plot.appendChild(document.createElement("div"));
      let [tree, path, knee, timer] = [null, null, 0, null];

      // Where a few are far behind the others most of the slider is for the others.
      const time = (place) => {
        if (knee >= path.took) return place * path.took;
        return place < 0.8 ? (place / 0.8) * knee : knee + ((place - 0.8) / 0.2) * (path.took - knee);
      };
      const show = () => {
        const ms = slider.value >= 1000 ? path.took : time(slider.value / 1000);
        const n = tree.show(ms);
        const lost = tree.lost ? `; ${tree.lost} not shown` : "";
        const far = `${ms.toFixed(1)} of ${path.took.toFixed(1)} ms`;
        told.textContent = `${far}: ${n} of ${tree.n} nodes, ${tree.depth} hops${lost}`;
      };
      const stop = () => {
        cancelAnimationFrame(timer);
        timer = null;
        button.textContent = "Play";
      };
      const play = () => {
        if (slider.value >= 1000) slider.value = 0;
        button.textContent = "Pause";
        const [begin, start] = [performance.now(), +slider.value];
        const step = (now) => {
          slider.value = Math.min(1000, start + (now - begin) / 6);
          show();
          if (slider.value >= 1000) stop();
          else timer = requestAnimationFrame(step);
        };
        timer = requestAnimationFrame(step);
      };
      const choose = () => {
        stop();
        path = run.paths[choice.value];
        const sorted = path.steps.map(([, , ms]) => ms);
        const most = 1.1 * sorted[Math.floor(0.95 * (sorted.length - 1))];
        knee = path.took > 2 * most ? most : path.took;
        box.textContent = "";
        tree = drawTree(box, path);
        slider.value = 1000;
        show();
        figure.dataset.drawn = tree.drawn;
      };
      button.addEventListener("click", () => (timer === null ? play() : stop()));
      slider.addEventListener("input", () => {
        stop();
        show();
      });
      choice.addEventListener("change", choose);
      choose();
    },
  });

  // The cards have their widths once all of them are there. What depends on width and colours is drawn anew.

  redraws.forEach((redraw) => redraw());
  let width = innerWidth;
  let pending = null;
  const again = () => {
    clearTimeout(pending);
    pending = setTimeout(() => redraws.forEach((redraw) => redraw()), 150);
  };
  addEventListener("resize", () => {
    if (innerWidth !== width) again();
    width = innerWidth;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  document.body.dataset.requests = performance.getEntriesByType("resource").length;
})();
