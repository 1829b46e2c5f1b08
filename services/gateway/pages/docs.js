// Shows /openapi.json to people: no library, nothing from elsewhere.
"use strict";

const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const nameOf = (ref) => ref.split("/").pop();

function typeOf(schema) {
  if (schema.$ref) return el("a", { href: "#" + nameOf(schema.$ref) }, nameOf(schema.$ref));
  if (schema.anyOf) return typeOf(schema.anyOf.find((one) => one.maxLength !== 0) || schema.anyOf[0]);
  if (schema.type === "array") return el("span", {}, "[ ", typeOf(schema.items), " ]");
  return el("span", {}, schema.format ? `${schema.type} (${schema.format})` : schema.type || "");
}

function limitsOf(schema) {
  const inner = schema.anyOf ? schema.anyOf.find((one) => one.maxLength !== 0) : schema;
  const told = [];
  if (schema.anyOf) told.push("可为空 or empty");
  for (const [key, sign] of [["minLength", "≥"], ["maxLength", "≤"]]) if (inner[key] !== undefined) told.push(`${sign} ${inner[key]} 字 chars`);
  for (const [key, sign] of [["minimum", "≥"], ["maximum", "≤"], ["exclusiveMinimum", ">"], ["exclusiveMaximum", "<"]])
    if (inner[key] !== undefined && Math.abs(inner[key]) < 2147483647) told.push(`${sign} ${inner[key]}`);
  for (const [key, sign] of [["minItems", "≥"], ["maxItems", "≤"]]) if (inner[key] !== undefined) told.push(`${sign} ${inner[key]} 项 items`);
  if (inner.pattern) told.push(inner.pattern);
  if (inner.enum) told.push(inner.enum.join(" | "));
  if (schema["x-personal"]) told.push("个人信息 personal");
  return told.join(" · ");
}

function fields(rows) {
  const table = el("table");
  for (const { name, schema, need, place, text } of rows)
    table.append(el("tr", {},
      el("td", {}, el("code", {}, name), need ? el("span", { class: "need", title: "必填 required" }, " *") : null,
        place ? el("span", { class: "dim" }, " " + place) : null),
      el("td", {}, schema.title || ""),
      el("td", {}, typeOf(schema)),
      el("td", {}, text || schema.description || "", el("div", { class: "note" }, limitsOf(schema)))));
  return table;
}

const objectFields = (schema) => fields(Object.entries(schema.properties || {}).map(([name, one]) =>
  ({ name, schema: one, need: (schema.required || []).includes(name) })));

function operation(path, verb, told) {
  const section = el("section", { id: told.operationId },
    el("h3", {}, el("span", { class: "verb" }, verb.toUpperCase()), el("span", { class: "path" }, path)),
    el("p", {}, told.description || ""),
    el("p", { class: "note" }, told["x-permission"] ? "权限 permission: " + told["x-permission"] : "公开 public",
      told["x-grpc"] ? " · gRPC " + told["x-grpc"] : ""));
  if (told.parameters)
    section.append(el("h4", {}, "参数 parameters"), fields(told.parameters.map((one) =>
      ({ name: one.name, schema: one.schema, need: one.required, place: one.in, text: one.description }))));
  for (const [media, { schema }] of Object.entries((told.requestBody || {}).content || {}))
    section.append(el("h4", {}, "请求体 body ", el("span", { class: "dim" }, media + " "), typeOf(schema)),
      schema.properties ? objectFields(schema) : "");
  const ok = told.responses["200"];
  const answers = el("p", {}, "答复 answers: ");
  for (const { schema } of Object.values((ok && ok.content) || {})) answers.append("200 ", typeOf(schema), " ");
  answers.append(el("span", { class: "dim" }, Object.keys(told.responses).filter((status) => status !== "200").join(" ")));
  section.append(answers);
  return section;
}

function show(api) {
  const index = document.getElementById("index"), main = document.getElementById("main");
  main.replaceChildren(el("p", {}, api.info.description));
  const byTag = new Map(api.tags.map((tag) => [tag.name, []]));
  for (const [path, verbs] of Object.entries(api.paths))
    for (const [verb, told] of Object.entries(verbs)) byTag.get(told.tags[0]).push([path, verb, told]);
  for (const tag of api.tags) {
    index.append(el("b", {}, tag.name));
    main.append(el("h2", {}, tag.name), el("p", {}, tag.description || ""));
    for (const [path, verb, told] of byTag.get(tag.name)) {
      index.append(el("a", { href: "#" + told.operationId, title: path }, verb.toUpperCase() + " " + path.replace("/v1/", "")));
      main.append(operation(path, verb, told));
    }
  }
  main.append(el("h2", {}, "内容 Schemas"));
  index.append(el("b", {}, "内容 Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    index.append(el("a", { href: "#" + name }, name));
    main.append(el("section", { id: name }, el("h3", {}, name), el("p", {}, schema.description || ""),
      schema.properties ? objectFields(schema) : el("p", { class: "note" }, (schema.enum || []).join(" | "))));
  }
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
}

document.getElementById("search").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const section of document.querySelectorAll("main section")) section.hidden = !section.textContent.toLowerCase().includes(wanted);
  for (const link of document.querySelectorAll("nav a")) {
    const target = document.getElementById(link.getAttribute("href").slice(1));
    link.hidden = target !== null && target.hidden;
  }
});

fetch("/openapi.json").then((answer) => answer.json()).then(show, (error) => {
  document.getElementById("main").textContent = "无法读取 openapi.json · cannot read openapi.json: " + error;
});
