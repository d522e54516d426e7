// The videos of a report page: played in step, moved frame by frame, and laid over each other.
(() => {
  "use strict";
  const kFramesPerSecond = 16;  // one frame of a step; videos of another rate move by at least one frame of theirs

  const element = (name, attributes, text) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  };
  const titleOf = (video) => video.closest("figure").dataset.variant || "";

  // One clock for the videos of one prompt: the first leads, the others are pulled along when they drift.
  class Together {
    constructor(item) {
      this.item = item;
      this.videos = [...item.querySelectorAll(".media video")];
      this.leader = this.videos[0];
      this.watching = false;
    }
    get playing() { return this.leader && !this.leader.paused; }
    toggle() { if (this.playing) this.pause(); else this.play(); }
    play() {
      const at = this.leader.ended ? 0 : this.leader.currentTime;
      for (const video of this.videos) {
        video.currentTime = at;
        video.play().catch(() => {});
      }
      if (!this.watching) this.watch();
    }
    pause() { for (const video of this.videos) video.pause(); this.align(); }
    align() { for (const video of this.videos) if (video !== this.leader) video.currentTime = this.leader.currentTime; }
    step(frames) {
      this.pause();
      const length = this.leader.duration || 0;
      this.seek(Math.min(Math.max(0, (Math.round(this.leader.currentTime * kFramesPerSecond - 0.5) + frames + 0.5) / kFramesPerSecond), length));
    }
    seek(seconds) { for (const video of this.videos) video.currentTime = Math.min(seconds, video.duration || seconds); }
    watch() {
      this.watching = true;
      const tick = () => {
        if (!this.playing) { this.watching = false; return; }
        for (const video of this.videos) {
          const drift = Math.abs(video.currentTime - this.leader.currentTime);
          if (video !== this.leader && drift > 0.5 / kFramesPerSecond && drift < this.leader.duration / 2) video.currentTime = this.leader.currentTime;
        }
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }
  }

  // Two videos on one spot: a curtain between them, or eight times their difference.
  const overlay = (together) => {
    const box = element("div", { class: "overlay" });
    const stage = element("div", { class: "stage" });
    const pick = (label, index) => {
      const select = element("select", { "aria-label": label });
      together.videos.forEach((video, i) => select.append(Object.assign(element("option", {}, titleOf(video)), { value: i, selected: i === index })));
      return select;
    };
    const left = pick("left video", 0), right = pick("right video", 1);
    const curtain = element("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "where the curtain stands" });
    const difference = element("input", { type: "checkbox" });
    const label = element("label");
    label.append(difference, " difference × 8");
    const canvases = [element("video", { muted: "", playsinline: "" }), element("video", { muted: "", playsinline: "" })];
    stage.append(...canvases);
    const show = () => {
      [left, right].forEach((select, i) => {
        const source = together.videos[Number(select.value)];
        if (canvases[i].src !== source.src) canvases[i].src = source.src;
        canvases[i].currentTime = together.leader.currentTime;
      });
      stage.classList.toggle("difference", difference.checked);
      canvases[1].style.clipPath = difference.checked ? "none" : "inset(0 0 0 " + curtain.value + "%)";
    };
    for (const input of [left, right, difference]) input.addEventListener("change", show);
    curtain.addEventListener("input", show);
    for (const moment of ["timeupdate", "seeked"]) together.leader.addEventListener(moment, () => canvases.forEach((video) => { video.currentTime = together.leader.currentTime; }));
    const bar = element("p", { class: "controls" });
    bar.append(left, " | ", right, " ", curtain, " ", label);
    box.append(bar, stage);
    box.show = show;
    return box;
  };

  const button = (text, title, action) => {
    const node = element("button", { type: "button", title }, text);
    node.addEventListener("click", action);
    return node;
  };

  const load = (video) => { video.preload = "auto"; };
  const near = "IntersectionObserver" in window && new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      near.unobserve(entry.target);
      load(entry.target);
    }
  }, { rootMargin: "600px" });

  for (const item of document.querySelectorAll(".item")) {
    const controls = item.querySelector(".together");
    const together = new Together(item);
    for (const video of together.videos) if (near) near.observe(video); else load(video);
    if (!controls || together.videos.length === 0) continue;
    controls.append(button("Play", "play or stop all videos of this prompt (space)", () => together.toggle()),
                    button("◀", "one frame back (left arrow)", () => together.step(-1)), button("▶", "one frame on (right arrow)", () => together.step(1)));
    const place = element("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "place in the videos" });
    place.addEventListener("input", () => { together.pause(); together.seek((together.leader.duration || 0) * place.value / 1000); });
    together.leader.addEventListener("timeupdate", () => { place.value = 1000 * together.leader.currentTime / (together.leader.duration || 1); });
    controls.append(place);
    if (together.videos.length > 1) {
      let box = null;
      controls.append(button("Overlay", "two videos on one spot: curtain or difference", () => {
        if (box) { box.remove(); box = null; return; }
        box = overlay(together);
        item.querySelector(".media").before(box);
        box.show();
      }));
    }
    item.tabIndex = 0;
    item.addEventListener("keydown", (event) => {
      if (event.target !== item) return;
      const action = { " ": () => together.toggle(), ArrowLeft: () => together.step(-1), ArrowRight: () => together.step(1) }[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    });
  }
})();
