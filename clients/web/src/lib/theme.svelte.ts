// Light or dark: as the system says, unless chosen.

type Choice = "system" | "light" | "dark";
const dark = matchMedia("(prefers-color-scheme: dark)");

class Theme {
  choice = $state<Choice>((localStorage.getItem("theme") as Choice | null) ?? "system");
  #system = $state(dark.matches);
  shown = $derived(this.choice === "system" ? (this.#system ? "dark" : "light") : this.choice);

  constructor() {
    dark.addEventListener("change", () => (this.#system = dark.matches));
    this.#apply();
  }

  toggle(): void {
    const other = this.shown === "dark" ? "light" : "dark";
    // Back to what the system says: follow it again.
    this.choice = other === (this.#system ? "dark" : "light") ? "system" : other;
    if (this.choice === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", this.choice);
    this.#apply();
  }

  #apply(): void {
    if (this.choice === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.choice;
  }
}

export const theme = new Theme();
