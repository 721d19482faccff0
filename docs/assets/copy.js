// The copy button of a console block takes the commands alone: neither prompts nor what is printed.
document.addEventListener("click", event => {
  const button = event.target.closest?.("[data-clipboard-target]")
  const code = button && document.querySelector(button.dataset.clipboardTarget)
  if (!code || !code.querySelector(".gp")) return
  const copy = code.cloneNode(true)
  copy.querySelectorAll(".gp, .go").forEach(each => each.remove())
  button.dataset.clipboardText = copy.textContent.split("\n").filter(line => line.trim()).join("\n")
}, true)
