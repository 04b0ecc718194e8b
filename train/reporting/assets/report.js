"use strict";
(() => {
  const root = document.documentElement;
  const runs = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const unpack = (p) => {
    const raw = atob(p.data), bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    const view = new DataView(bytes.buffer), wide = p.dtype === "uint16" ? 2 : 4;
    const out = new Float64Array(bytes.length / wide);
    for (let k = 0; k < out.length; k++)
      out[k] = wide === 2 ? view.getUint16(2 * k, true) : view.getFloat32(4 * k, true);
    return out;
  };
  const ms = (s) => (s * 1e3).toFixed(1) + " ms";
  const said = (x) => (Array.isArray(x) ? x.map((v) => v.toPrecision(3)).join(", ") : String(x));
  const many = (n, noun) => n + " " + noun + (n === 1 ? "" : "s");
  const DASHES = [[], [7, 2], [2, 2], [8, 3, 2, 3], [1, 3], [4, 4]];
  // Room at the left for numbers, at the right for half of one, below for the axis of time.
  const LEFT = 50, RIGHT = 22, AXIS = 34, STEPS = 200;
  const paints = [];
  function prepare(canvas, height) {
    const ratio = devicePixelRatio || 1, width = Math.max(canvas.clientWidth, 50);
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.height = height + "px";
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio); g.clearRect(0, 0, width, height); g.font = "12px system-ui,sans-serif";
    return [g, width, height];
  }
  function round(low, high, count) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * (1 - 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found;
  }
  function numberAt(g, text, x, y, align) { g.textAlign = align; g.fillStyle = css("--fg"); g.fillText(text, x, y); g.textAlign = "left"; }
  function timeAxis(g, w, y, seconds, x) {
    g.strokeStyle = css("--dim"); g.fillStyle = css("--fg");
    for (const t of seconds > 0 ? round(0, seconds * 1e3, Math.max(2, Math.floor(w / 110))) : [0]) {
      g.beginPath(); g.moveTo(x(t / 1e3), y); g.lineTo(x(t / 1e3), y + 5); g.stroke();
      numberAt(g, String(+t.toPrecision(6)), x(t / 1e3), y + 17, "center");
    }
    numberAt(g, "time, ms", w - 4, y + 31, "right");
  }
  function explorer(box, samples) {
    const find = (c) => box.querySelector("." + c);
    const pick = find("pick"), time = find("time"), words = find("words"), play = find("play");
    const raster = find("raster"), membrane = find("membrane"), activity = find("activity");
    let decoded = null, of = -1, last = null;
    // A slider moves by one time step where there are such, else by a two hundredth.
    function sample() {
      const k = Number(pick.value), s = samples[k];
      if (of !== k) {
        const first = of < 0, share = Number(time.value) / Number(time.max);
        of = k;
        decoded = s.layers.map((l) => ({ ...l, T: unpack(l.t), N: unpack(l.n), V: l.v ? unpack(l.v) : null }));
        time.max = s.dt ? Math.max(1, Math.round(s.seconds / s.dt)) : STEPS;
        // First where something is to be seen: at the middle one of all spikes.
        const spikes = Float64Array.from(decoded.flatMap((l) => [...l.T])).sort();
        const start = spikes.length && s.seconds ? spikes[spikes.length >> 1] / s.seconds : 0.5;
        time.value = Math.round((first ? start : share) * Number(time.max));
      }
      return s;
    }
    const fade = (s) => Math.max((s.seconds || 1) / 12, 1.5 * (s.dt || 0));
    function nowLine(g, at, top, bottom) { g.strokeStyle = css("--fg"); g.beginPath(); g.moveTo(at, top); g.lineTo(at, bottom); g.stroke(); }
    function drawRaster(s, now) {
      const layers = decoded.filter((l) => l.spiking);
      const rows = layers.map((l) => Math.min(170, Math.max(46, l.size * 3)));
      const [g, w] = prepare(raster, rows.reduce((a, b) => a + b + 22, AXIS));
      const x = (t) => LEFT + (t / (s.seconds || 1)) * (w - LEFT - RIGHT);
      let top = 16;
      layers.forEach((l, i) => {
        g.fillStyle = css("--fg");
        g.fillText(`${l.name}: ${many(l.spikes, "spike")}, ${many(l.size, "unit")}`, LEFT, top - 4, w - LEFT);
        g.strokeStyle = css("--edge"); g.strokeRect(LEFT, top, w - LEFT - RIGHT, rows[i]);
        numberAt(g, "0", LEFT - 6, top + 10, "right");
        if (l.size > 1) numberAt(g, String(l.size - 1), LEFT - 6, top + rows[i], "right");
        g.fillStyle = css("--k" + (i % 6));
        const h = Math.max(2, Math.min(6, rows[i] / l.size)), wide = Math.max(2, s.dt ? 0.8 * (x(s.dt) - LEFT) : 0);
        for (let k = 0; k < l.T.length; k++)
          g.fillRect(x(l.T[k]), top + (l.N[k] / l.size) * rows[i], wide, h);
        nowLine(g, x(now), top, top + rows[i]);
        if (s.decision != null) {
          g.setLineDash([5, 4]); g.lineWidth = 2; g.strokeStyle = css("--k4"); g.beginPath();
          g.moveTo(x(s.decision), top); g.lineTo(x(s.decision), top + rows[i]); g.stroke(); g.setLineDash([]); g.lineWidth = 1;
        }
        top += rows[i] + 22;
      });
      timeAxis(g, w, top - 22, s.seconds, x);
    }
    function drawMembranes(s, now) {
      const shown = decoded.filter((l) => l.V);
      membrane.hidden = find("membranes").hidden = !shown.length;
      if (!shown.length) return;
      const [g, w] = prepare(membrane, shown.length * 200 + AXIS);
      const x = (t) => LEFT + (t / (s.seconds || 1)) * (w - LEFT - RIGHT);
      shown.forEach((l, i) => {
        const top = i * 200 + 42, h = 150, [steps, n] = l.v.shape, th = l.threshold;
        const low = Math.min(l.v.low, th ?? l.v.low), high = Math.max(l.v.high, th ?? l.v.high);
        const y = (v) => top + h - ((v - low) / (high - low || 1)) * h;
        g.fillStyle = css("--fg");
        g.fillText(`${l.name}: neuron` + (n === 1 ? "" : "s") + (th == null ? "" : `, threshold ${+th.toPrecision(4)} (bold)`), LEFT, top - 26, w - LEFT);
        g.strokeStyle = css("--edge"); g.strokeRect(LEFT, top, w - LEFT - RIGHT, h);
        for (const v of high > low ? round(low, high, 4) : [low]) {
          numberAt(g, String(+v.toPrecision(3)), LEFT - 6, Math.min(top + h, Math.max(top + 9, y(v) + 4)), "right");
          g.strokeStyle = css("--edge"); g.beginPath(); g.moveTo(LEFT - 4, y(v)); g.lineTo(LEFT, y(v)); g.stroke();
        }
        for (let j = 0; j < n; j++) {
          // Its own colour and its own dashes: no line is told by its colour alone.
          g.strokeStyle = css("--k" + (j % 6)); g.setLineDash(DASHES[j % DASHES.length]); g.lineWidth = 1.6;
          const key = LEFT + j * Math.min(90, (w - LEFT - 8) / n);
          g.beginPath(); g.moveTo(key, top - 12); g.lineTo(key + 20, top - 12); g.stroke();
          g.fillStyle = css("--fg"); g.fillText(l.neurons[j], key + 23, top - 8);
          g.beginPath();
          // The value after a step stands at its end.
          for (let k = 0; k < steps; k++)
            g.lineTo(x(((k + 1) / steps) * s.seconds), y(l.v.low + (l.V[k * n + j] / 65535) * (l.v.high - l.v.low)));
          g.stroke(); g.setLineDash([]); g.lineWidth = 1;
        }
        g.strokeStyle = css("--fg");
        if (th != null) { g.lineWidth = 2.5; g.beginPath(); g.moveTo(LEFT, y(th)); g.lineTo(w - RIGHT, y(th)); g.stroke(); g.lineWidth = 1; }
        nowLine(g, x(now), top, top + h);
        if (i === shown.length - 1) timeAxis(g, w, top + h, s.seconds, x);
      });
    }
    function drawActivity(s, now) {
      const layers = decoded.filter((l) => l.spiking), fades = fade(s);
      // No higher than the squares that have room beside each other.
      const side = (Math.max(activity.clientWidth, 50) - 16) / layers.length - 8;
      const [g, w, h] = prepare(activity, 28 + Math.min(162, Math.max(side, 20)));
      layers.forEach((l, i) => {
        const left = 8 + (i * (w - 16)) / layers.length, room = (w - 16) / layers.length - 8;
        const n = Math.min(l.size, 1024), cols = Math.ceil(Math.sqrt(n)), cell = Math.min(room, h - 28) / cols;
        const glow = new Float64Array(n);
        for (let k = 0; k < l.T.length; k++)
          if (l.T[k] <= now && now - l.T[k] < fades && l.N[k] < n)
            glow[l.N[k]] = Math.max(glow[l.N[k]], 1 - (now - l.T[k]) / fades);
        g.globalAlpha = 1; g.fillStyle = css("--fg");
        g.fillText(l.name + (l.size > n ? `, first ${n} of ${l.size}` : ""), left, 13, room);
        for (let k = 0; k < n; k++) {
          const px = left + (k % cols) * cell, py = 20 + Math.floor(k / cols) * cell, size = Math.max(cell - 1, 1);
          g.globalAlpha = 0.5; g.fillStyle = css("--edge"); g.fillRect(px, py, size, size);
          g.globalAlpha = glow[k]; g.fillStyle = css("--k" + (i % 6)); g.fillRect(px, py, size, size);
        }
        g.globalAlpha = 1;
      });
    }
  function paint(speak) {
      const s = sample(), now = (Number(time.value) / Number(time.max)) * s.seconds;
      time.setAttribute("aria-valuetext", ms(now));
      pick.setAttribute("aria-valuetext", `sample ${s.row}, ${Number(pick.value) + 1} of ${samples.length}`);
      find("now").textContent = `${ms(now)} of ${ms(s.seconds)}`;
      find("which").textContent = `${Number(pick.value) + 1} of ${samples.length}`;
      find("fade").textContent = ms(fade(s));
      if (speak) {
        const decided = s.decision === undefined ? "" : s.decision === null ? ", no decision time" : ", decided at " + ms(s.decision) + " (dashed line)";
        words.textContent = `Sample ${s.row}: true ${said(s.target)}, predicted ${said(s.prediction)}${decided}; ` +
          decoded.map((l) => !l.spiking ? `${l.name} does not spike` : `${l.name} ${many(l.spikes, "spike")}` + (l.left_out ? ` (${l.left_out} not drawn)` : "")).join(", ") + ".";
      }
      drawRaster(s, now); drawMembranes(s, now); drawActivity(s, now);
    }
    // Whoever asks for less motion gets a button that moves on by a twentieth.
    const rest = () => { play.textContent = calm.matches ? "Step" : "Play"; };
    function stop() { if (last !== null) cancelAnimationFrame(last.id); last = null; rest(); }
    function move(by) {
      const end = Number(time.max);
      last && (last.place = last.place + by > end ? 0 : last.place + by);
      const next = last ? last.place : Number(time.value) >= end ? 0 : Number(time.value) + by;
      time.value = Math.min(end, next); paint(false);
    }
    function frame(at) {
      if (last === null) return;
      const by = ((at - last.at) / 4000) * Number(time.max);
      last.at = at; last.id = requestAnimationFrame(frame);
      move(Math.max(0, by));
    }
    play.addEventListener("click", () => {
      if (last !== null) return stop();
      if (calm.matches) return move(Math.ceil(Number(time.max) / 20));
      play.textContent = "Pause";
      last = { at: performance.now(), place: Number(time.value), id: requestAnimationFrame(frame) };
    });
    calm.addEventListener("change", stop);
    pick.addEventListener("input", () => { stop(); paint(true); });
    time.addEventListener("input", () => { stop(); paint(false); });
    rest();
    paints.push(() => paint(true));
    paint(true);
  }
  document.querySelectorAll(".explorer").forEach((box) => explorer(box, runs[Number(box.dataset.run)]));
  const repaint = () => paints.forEach((p) => p());
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark"; repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  // Only what scrolls is a stop of the Tab key, and a landmark.
  const frames = () => document.querySelectorAll("div.scroll").forEach((box) => {
    if (!box.clientWidth) return;
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    for (const [name, value] of [["tabindex", "0"], ["role", "region"]])
      if (scrolls) box.setAttribute(name, value); else box.removeAttribute(name);
  });
  frames();
  document.querySelectorAll("details").forEach((each) => each.addEventListener("toggle", frames));
  addEventListener("resize", () => { repaint(); frames(); });
})();
