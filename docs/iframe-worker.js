// Opened from disk, a page may start no worker. The search's worker then runs in a hidden frame of the page.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = `<script>
        window.postMessage = data => parent.dispatchEvent(new MessageEvent("frame-worker", { data }))
        window.importScripts = (...urls) => urls.reduce((done, url) => done.then(() => new Promise((good, bad) => {
          const script = Object.assign(document.createElement("script"), { src: url, onload: good, onerror: bad })
          document.body.append(script)
        })), Promise.resolve())
      <\/script><body><script src="${new URL(url, location)}"><\/script>`
      window.addEventListener("frame-worker", ({ data }) => this.dispatchEvent(new MessageEvent("message", { data })))
      frame.onload = () => {
        this.frame = frame.contentWindow
        this.waiting.forEach(data => this.postMessage(data))
      }
      document.body.append(frame)
    }

    postMessage(data) {
      if (this.frame) this.frame.dispatchEvent(new MessageEvent("message", { data }))
      else this.waiting.push(data)
    }
  }
