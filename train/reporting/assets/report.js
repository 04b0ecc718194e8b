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
  const DASHES = [[], [7, 2], [2, 2], [8, 3, 2, 3], [1, 3], [4, 4]];
  const paints = [];
  function prepare(canvas, height) {
    const ratio = devicePixelRatio || 1, width = Math.max(canvas.clientWidth, 50);
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.height = height + "px";
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio); g.clearRect(0, 0, width, height); g.font = "12px system-ui";
    return [g, width, height];
  }
  function explorer(box, samples) {
    const find = (c) => box.querySelector("." + c);
    const pick = find("pick"), time = find("time"), words = find("words"), play = find("play");
    const raster = find("raster"), membrane = find("membrane"), activity = find("activity");
    let decoded = null, of = -1, last = null;
    function sample() {
      const k = Number(pick.value);
      if (of !== k) {
        of = k;
        decoded = samples[k].layers.map((l) => ({ ...l, T: unpack(l.t), N: unpack(l.n), V: l.v ? unpack(l.v) : null }));
      }
      return samples[k];
    }
    function drawRaster(s, now) {
      const rows = decoded.map((l) => Math.min(170, Math.max(46, l.size * 3)));
      const [g, w] = prepare(raster, rows.reduce((a, b) => a + b + 20, 6));
      const x = (t) => 8 + (t / (s.seconds || 1)) * (w - 16);
      let top = 16;
      decoded.forEach((l, i) => {
        g.fillStyle = css("--fg"); g.fillText(`${l.name}: ${l.spikes} spikes, ${l.size} units`, 8, top - 3);
        g.strokeStyle = css("--edge"); g.strokeRect(8, top, w - 16, rows[i]);
        g.fillStyle = css("--k" + (i % 6));
        const h = Math.max(1.5, Math.min(6, rows[i] / l.size));
        for (let k = 0; k < l.T.length; k++)
          g.fillRect(x(l.T[k]), top + (l.N[k] / l.size) * rows[i], 1.8, h);
        top += rows[i] + 20;
      });
      g.strokeStyle = css("--fg"); g.beginPath(); g.moveTo(x(now), 0); g.lineTo(x(now), top); g.stroke();
      if (s.decision != null) {
        g.setLineDash([5, 4]); g.strokeStyle = css("--k4"); g.beginPath();
        g.moveTo(x(s.decision), 0); g.lineTo(x(s.decision), top); g.stroke(); g.setLineDash([]);
      }
    }
    function drawMembranes(s, now) {
      const shown = decoded.filter((l) => l.V);
      membrane.hidden = !shown.length;
      if (!shown.length) return;
      const [g, w] = prepare(membrane, shown.length * 200);
      shown.forEach((l, i) => {
        const top = i * 200 + 38, h = 150, [steps, n] = l.v.shape;
        const th = l.threshold;
        const low = Math.min(l.v.low, th ?? l.v.low), high = Math.max(l.v.high, th ?? l.v.high);
        const x = (k) => 8 + ((k + 1) / steps) * (w - 16);
        const y = (v) => top + h - ((v - low) / (high - low || 1)) * h;
        g.fillStyle = css("--fg");
        g.fillText(`${l.name}: membranes, ${low.toFixed(2)} to ${high.toFixed(2)}` + (th == null ? "" : ", threshold bold"), 8, top - 23);
        g.strokeStyle = css("--edge"); g.strokeRect(8, top, w - 16, h);
        for (let j = 0; j < n; j++) {
          // Its own colour and its own dashes: no line is told by its colour alone.
          g.strokeStyle = css("--k" + (j % 6)); g.setLineDash(DASHES[j % DASHES.length]);
          const key = 8 + j * Math.min(90, (w - 16) / n);
          g.beginPath(); g.moveTo(key, top - 11); g.lineTo(key + 20, top - 11); g.stroke();
          g.fillText(l.neurons[j], key + 24, top - 7);
          g.beginPath();
          for (let k = 0; k < steps; k++)
            g.lineTo(x(k), y(l.v.low + (l.V[k * n + j] / 65535) * (l.v.high - l.v.low)));
          g.stroke(); g.setLineDash([]);
        }
        g.strokeStyle = css("--fg");
        if (th != null) { g.lineWidth = 2.5; g.beginPath(); g.moveTo(8, y(th)); g.lineTo(w - 8, y(th)); g.stroke(); g.lineWidth = 1; }
        const at = 8 + (now / (s.seconds || 1)) * (w - 16);
        g.beginPath(); g.moveTo(at, top); g.lineTo(at, top + h); g.stroke();
      });
    }
    function drawActivity(s, now) {
      const [g, w, h] = prepare(activity, 190), fade = (s.seconds || 1) / 12;
      decoded.forEach((l, i) => {
        const left = 8 + (i * (w - 16)) / decoded.length, room = (w - 16) / decoded.length - 8;
        const n = Math.min(l.size, 1024), cols = Math.ceil(Math.sqrt(n)), cell = Math.min(room, h - 28) / cols;
        const glow = new Float64Array(n);
        for (let k = 0; k < l.T.length; k++)
          if (l.T[k] <= now && now - l.T[k] < fade && l.N[k] < n)
            glow[l.N[k]] = Math.max(glow[l.N[k]], 1 - (now - l.T[k]) / fade);
        g.globalAlpha = 1; g.fillStyle = css("--fg"); g.fillText(l.name, left, 13);
        for (let k = 0; k < n; k++) {
          const px = left + (k % cols) * cell, py = 20 + Math.floor(k / cols) * cell, size = Math.max(cell - 1, 1);
          g.globalAlpha = 0.25; g.fillStyle = css("--edge"); g.fillRect(px, py, size, size);
          g.globalAlpha = glow[k]; g.fillStyle = css("--k" + (i % 6)); g.fillRect(px, py, size, size);
        }
        g.globalAlpha = 1;
      });
    }
    function paint(speak) {
      const s = sample(), now = (Number(time.value) / 1000) * s.seconds;
      time.setAttribute("aria-valuetext", ms(now));
      pick.setAttribute("aria-valuetext", "sample " + s.row);
      find("now").textContent = ms(now);
      if (speak) {
        const decided = s.decision === undefined ? "" : s.decision === null ? ", no decision time" : ", decided at " + ms(s.decision) + " (dashed line)";
        words.textContent = `Sample ${s.row}: true ${said(s.target)}, predicted ${said(s.prediction)}${decided}; ` +
          decoded.map((l) => `${l.name} ${l.spikes} spikes` + (l.left_out ? ` (${l.left_out} not drawn)` : "")).join(", ") + ".";
      }
      drawRaster(s, now); drawMembranes(s, now); drawActivity(s, now);
    }
    function stop() { if (last !== null) { cancelAnimationFrame(last.id); last = null; } play.textContent = "Play"; play.setAttribute("aria-pressed", "false"); }
    function frame(at) {
      if (last === null) return;
      const next = Number(time.value) + ((at - last.at) / 4000) * 1000;
      time.value = next >= 1000 ? 0 : next;
      last.at = at;
      paint(false);
      last.id = requestAnimationFrame(frame);
    }
    play.addEventListener("click", () => {
      if (last !== null) return stop();
      if (calm.matches) { time.value = Math.min(1000, Number(time.value) + 50); if (time.value === "1000") time.value = 0; return paint(false); }
      play.textContent = "Pause"; play.setAttribute("aria-pressed", "true");
      last = { at: performance.now(), id: requestAnimationFrame(frame) };
    });
    if (calm.matches) play.textContent = "Step";
    pick.addEventListener("input", () => paint(true));
    time.addEventListener("input", () => { stop(); if (calm.matches) play.textContent = "Step"; paint(false); });
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
  addEventListener("resize", repaint);
})();
