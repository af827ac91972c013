// Who a device is to the server: whether it may connect, its credentials, and how they are changed.
// @ts-check

import { h, put, card, button, field, textInput, setError, announce, problemNote } from "./dom.js";
import { devicePath, send } from "./api.js";
import { confirmDialog, dialogForm, openDialog, showNewKey } from "./dialogs.js";
import { json, timeElement } from "./format.js";

const KINDS = { psk: "Pre-shared key", x509: "Certificate" };
const FINGERPRINT = /^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/;

export class Access {
  constructor(device) {
    this.device = device;
    this.changed = (_device) => {};
    this.body = h("div");
    this.status = h("div", { role: "status" });
    this.node = card("Access", { class: "access", hidden: true }, this.body, this.status);
    this.shown = "";
  }

  show(device) {
    const registration = device.registration;
    this.node.hidden = false;
    // The buttons stay, and keep the focus, where nothing has changed.
    const now = json(registration ?? null);
    if (now === this.shown) return;
    this.shown = now;
    if (!registration) return put(this.body, h("p", { class: "muted" }, "The device is in no store of this server: it connected without one."));
    put(this.body,
      h("p", { class: "access-state" }, h("span", { class: `badge ${registration.enabled ? "ok" : "refused"}` }, registration.enabled ? "Enabled" : "Disabled"),
        registration.enabled ? " It may connect." : " It may not connect."),
      h("dl", { class: "facts" },
        h("div", null, h("dt", null, "Added"), h("dd", null, timeElement(registration.created))),
        h("div", null, h("dt", null, "Last seen"), h("dd", null, timeElement(registration.lastSeen)))),
      registration.credentials ? this.credentials(registration.credentials) : h("p", { class: "muted" }, "Credentials are shown to keys that may administer the device."),
      registration.enabled
        ? button("Disable…", () => this.disable(), { class: "danger" })
        : button("Enable…", () => this.enable(), {}));
  }

  credentials(list) {
    return h("div", { class: "credentials" }, h("h3", null, "Credentials"),
      list.length ? h("ul", null, list.map((one) => this.credential(one))) : h("p", { class: "muted" }, "None: the device cannot connect over DTLS or TLS."),
      !list.some((one) => one.kind === "psk") && button("Add key…", () => this.addKey(), { class: "small" }));
  }

  credential({ kind, identity, fingerprint, created, rotated }) {
    const rotate = kind === "psk" ? () => this.rotateKey() : () => this.rotateCertificate();
    return h("li", null,
      h("div", null, h("strong", null, KINDS[kind] ?? kind), " ", h("code", null, identity),
        fingerprint && h("div", { class: "fingerprint muted" }, `SHA-256 ${fingerprint}`),
        h("div", { class: "muted" }, rotated ? "rotated " : "added ", timeElement(rotated ?? created))),
      button("Rotate…", rotate, { class: "small", "aria-label": `Rotate ${KINDS[kind] ?? kind}` }));
  }

  async disable() {
    const text = `${this.device} is disconnected, and may not connect until it is enabled. Its open calls end.`;
    if (await confirmDialog(`Disable ${this.device}?`, text, "Disable")) await this.change("disable", {}, "The device is disabled");
  }

  async enable() {
    if (await confirmDialog(`Enable ${this.device}?`, "It may then connect with its credentials.", "Enable", false)) await this.change("enable", {}, "The device is enabled");
  }

  async rotateKey() {
    const text = "The server makes another key. The device is disconnected, and connects again only with the new key.";
    if (await confirmDialog("Rotate the key?", text, "Rotate")) await this.change("rotate", { kind: "psk" }, "The key is rotated");
  }

  async addKey() {
    const identity = textInput({ placeholder: this.device, maxlength: 128 });
    const body = await openDialog("Add key", (close) =>
      dialogForm(() => close({ kind: "psk", ...(identity.value.trim() ? { identity: identity.value.trim() } : {}) }), "Add key", close,
        h("p", null, "The server makes a key and shows it once."), field("Identity", identity, { hint: "The name of the device, unless you enter another one." })));
    if (body) await this.change("credentials", body, "The key is added");
  }

  async rotateCertificate() {
    const identity = textInput({ maxlength: 128, placeholder: this.device });
    const fingerprint = h("textarea", { rows: 2, spellcheck: "false" });
    const body = await openDialog("Rotate the certificate", (close) =>
      dialogForm(() => {
        const text = fingerprint.value.trim();
        if (!FINGERPRINT.test(text)) return setError(fingerprint, "A SHA-256 has 64 hexadecimal digits, with or without colons.");
        close({ kind: "x509", ...(identity.value.trim() ? { identity: identity.value.trim() } : {}), fingerprint: text });
      }, "Rotate", close,
      field("Name in the certificate", identity), field("Fingerprint, SHA-256", fingerprint)));
    if (body) await this.change("rotate", body, "The certificate is rotated");
  }

  async change(path, body, done) {
    try {
      const { data } = await send("POST", devicePath(this.device, `/${path}`), { body: json(body) });
      const { key: made, ...device } = data;
      put(this.status);
      this.changed(device);
      announce(done);
      if (made) await showNewKey(this.device, made);
    } catch (error) {
      put(this.status, problemNote(error));
    }
  }
}
