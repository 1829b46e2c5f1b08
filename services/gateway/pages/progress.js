"use strict";

/* What a receipt's QR code leads to. The code may stand in the address; the PIN is typed, and sent in the body alone. */
const at = (id) => document.getElementById(id);

function line(time, text) {
  const item = document.createElement("li");
  const when = document.createElement("time");
  when.dateTime = time;
  when.textContent = new Date(time).toLocaleString("zh-CN", { dateStyle: "medium", timeStyle: "short" });
  item.append(when, ` ${text}`);
  return item;
}

at("code").value = new URLSearchParams(location.search).get("code") || "";

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("found").hidden = true;
  at("refused").textContent = "";
  const asked = { code: at("code").value, pin: at("pin").value };
  let told;
  try {
    const answer = await fetch("/v1/caseProgress:lookup", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked),
    });
    told = await answer.json();
    if (!answer.ok) {
      at("refused").textContent = `${told.detail} ${told.detailEn}`;
      return;
    }
  } catch {
    at("refused").textContent = "暂时无法查询，请稍后再试。 Try again a little later.";
    return;
  }
  at("stage").textContent = told.stage.zh;
  at("about").textContent = `${told.code} · ${told.name} · ${told.centreName}`;
  at("steps").replaceChildren(...told.steps.map((step) => line(step.at, step.sentence.zh)));
  at("found").hidden = false;
});
