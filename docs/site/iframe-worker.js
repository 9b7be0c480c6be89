// Opened as a file, a page may start no worker, and Material's search is one. So it runs in a hidden frame here.
// Material's plugin `offline` would fetch such a script from a CDN.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.title = "search"
      this.waiting = []
      addEventListener("message", event => {
        if (event.source !== frame.contentWindow) return
        this.dispatchEvent(new MessageEvent("message", {data: event.data}))
      })
      const begin = () => {
        const inside = frame.contentDocument
        inside.open()
        inside.write("<script>postMessage = parent.postMessage.bind(parent); importScripts = () => {}<\/script>")
        const script = inside.createElement("script")
        script.src = url
        script.onload = () => {
          for (const data of this.waiting) frame.contentWindow.dispatchEvent(new MessageEvent("message", {data}))
          this.waiting = null
        }
        inside.close()
        inside.documentElement.append(script)
      }
      this.postMessage = data => {
        if (this.waiting) this.waiting.push(data)
        else frame.contentWindow.dispatchEvent(new MessageEvent("message", {data}))
      }
      const attach = () => (document.body.append(frame), begin())
      if (document.body) attach()
      else addEventListener("DOMContentLoaded", attach)
    }
    terminate() {}
  }
}
