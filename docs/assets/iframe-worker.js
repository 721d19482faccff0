// A browser starts no worker from a folder. There, a frame of this page does the worker's work, so that search works.
if (location.protocol === "file:") window.Worker = class extends EventTarget {
  constructor(url) {
    super()
    this.waiting = []
    const own = new URL(url, location)
    const frame = document.createElement("iframe")
    frame.hidden = true
    document.documentElement.append(frame)
    const inside = this.inside = frame.contentWindow
    const load = address => new Promise((done, failed) => {
      const script = inside.document.createElement("script")
      script.src = new URL(address, own)
      script.onload = done
      script.onerror = failed
      inside.document.body.append(script)
    })
    inside.postMessage = data => {
      const event = new MessageEvent("message", {data})
      this.dispatchEvent(event)
      this.onmessage?.(event)
    }
    inside.importScripts = (...addresses) =>
      addresses.reduce((before, each) => before.then(() => load(each)), Promise.resolve())
    load(own).then(() => {
      this.ready = true
      this.waiting.splice(0).forEach(data => this.deliver(data))
    })
  }
  deliver(data) {
    this.inside.dispatchEvent(new this.inside.MessageEvent("message", {data}))
  }
  postMessage(data) {
    if (this.ready) this.deliver(data)
    else this.waiting.push(data)
  }
  terminate() {}
}
