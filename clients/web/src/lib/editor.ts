// The SQL editor: the parts of CodeMirror that are used. Loaded with the SQL page.
import {
  type Completion, type CompletionContext, type CompletionResult, acceptCompletion, autocompletion, closeBrackets,
  closeBracketsKeymap, completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLDialect, sql } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { Prec, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, drawSelection, keymap, lineNumbers, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";

/** What may follow. */
export interface Names {
  tables: Map<string, { comment: string; columns: { name: string; type: string; comment: string }[] }>;
  functions: string[];
}

const dialect = SQLDialect.define({
  keywords:
    "all and any array as asc between by case cast columns cross date_bin desc describe distinct else end escape except exists " +
    "explain false filter first following for from full functions group grouping having ilike in inner intersect interval is " +
    "join last lateral left like limit natural not null nulls offset on or order outer over partition preceding qualify range " +
    "right row rows select semi anti sets show similar some table tables then to true unbounded union unnest using values " +
    "verbose analyze view when where window with within",
  types: "bigint boolean date double float int integer interval real smallint text timestamp varchar",
  caseInsensitiveIdentifiers: true,
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--lagging)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
  { tag: tags.typeName, color: "var(--rewind)" },
]);

const look = EditorView.theme({
  "&": { fontSize: "0.95rem", backgroundColor: "var(--raised)", color: "var(--text)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", minHeight: "9rem", maxHeight: "40vh", overflow: "auto" },
  ".cm-content": { caretColor: "var(--text)", padding: "0.7rem 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--muted)", border: "none", paddingLeft: "0.4rem" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--accent-soft)",
  },
  ".cm-tooltip": { border: "1px solid var(--line-strong)", borderRadius: "0.4rem", backgroundColor: "var(--raised)", color: "var(--text)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "16rem" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { marginLeft: "1rem", fontStyle: "normal", opacity: "0.75" },
  ".cm-tooltip.cm-completionInfo": { padding: "0.4rem 0.6rem", maxWidth: "22rem", fontFamily: "var(--sans)" },
  ".cm-wrong": { textDecoration: "underline wavy var(--stopped)", textUnderlineOffset: "0.25em" },
  ".cm-placeholder": { color: "var(--muted)" },
});

/** Where the server says that the statement is wrong, until it is changed. */
const wrong = StateEffect.define<{ from: number; to: number; title: string } | undefined>();
const wrongPlace = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    const effect = transaction.effects.find((effect) => effect.is(wrong));
    if (!effect) return transaction.docChanged ? Decoration.none : marks;
    if (!effect.value) return Decoration.none;
    const { from, to, title } = effect.value;
    return Decoration.set(Decoration.mark({ class: "cm-wrong", attributes: { title } }).range(from, to));
  },
  provide: (field) => EditorView.decorations.from(field),
});

function columnsOf(names: Names, tables: string[]): Completion[] {
  return tables.flatMap((table) =>
    (names.tables.get(table)?.columns ?? []).map(({ name, type, comment }) => ({
      label: name, type: "property", detail: type, info: `${comment} (${table})`, boost: 2,
    })),
  );
}

function complete(names: Names, context: CompletionContext): CompletionResult | null {
  const word = context.matchBefore(/[\w."]*/);
  if (!word || (word.from === word.to && !context.explicit)) return null;
  const text = context.state.doc.toString();
  const used = [...names.tables.keys()].filter((table) => new RegExp(`\\b${table}\\b`, "i").test(text));
  const dot = word.text.lastIndexOf(".");
  if (dot >= 0) {
    const qualifier = word.text.slice(0, dot).replace(/^.*\./, "").replaceAll('"', "");
    const named = new RegExp(`\\b(\\w+)\\s+(?:AS\\s+)?${qualifier}\\b`, "gi");
    const aliased = [...text.matchAll(named)].map((match) => match[1]?.toLowerCase() ?? "");
    return { from: word.from + dot + 1, options: columnsOf(names, names.tables.has(qualifier) ? [qualifier] : aliased), validFor: /^\w*$/ };
  }
  const tables = [...names.tables].map(([label, { comment }]) => ({ label, type: "class", detail: "table", info: comment, boost: 1 }));
  const functions = names.functions.map((label) => ({ label, type: "function", detail: "function", apply: `${label}(`, boost: -1 }));
  const seen = new Set<string>();
  const columns = columnsOf(names, used).filter(({ label }) => !seen.has(label) && seen.add(label));
  return { from: word.from, options: [...columns, ...tables, ...functions], validFor: /^\w*$/ };
}

/**
 * Text that is typed over a selection. Chromium would keep the style of the replaced text by an inline `style`, which the
 * content security policy forbids; so the editor replaces the selection itself.
 */
const plainTyping = EditorView.domEventHandlers({
  beforeinput(event, view) {
    if (event.inputType !== "insertText" || event.data === null || event.isComposing || view.state.selection.main.empty) return false;
    event.preventDefault();
    view.dispatch(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
    return true;
  },
});

export interface Editor {
  text: () => string;
  /** The selected text, or the whole text. */
  chosen: () => string;
  replace: (text: string) => void;
  insert: (text: string) => void;
  focus: () => void;
  mark: (error?: { message: string; line: number; column: number }) => void;
  destroy: () => void;
}

/** In a shadow root of its own: there its styles need no inline `<style>`, which the policy forbids. */
export function open(host: HTMLElement, start: string, names: () => Names, on: { run: () => void; change: () => void }): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  const run = { key: "Mod-Enter", run: () => (on.run(), true) };
  const view = new EditorView({
    parent: root,
    root,
    doc: start,
    extensions: [
      Prec.highest(keymap.of([run])),
      // With the list open, Tab accepts the selected entry; otherwise it moves the focus, as in any field.
      keymap.of([{ key: "Tab", run: acceptCompletion }, ...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
      sql({ dialect, upperCaseKeywords: true }),
      dialect.language.data.of({ autocomplete: (context: CompletionContext) => complete(names(), context) }),
      autocompletion({ icons: false }),
      closeBrackets(),
      bracketMatching(),
      history(),
      drawSelection(),
      lineNumbers(),
      syntaxHighlighting(colours),
      wrongPlace,
      look,
      plainTyping,
      EditorView.lineWrapping,
      placeholder("SELECT … FROM groups"),
      EditorView.contentAttributes.of({ "aria-label": "SQL statement", "aria-multiline": "true" }),
      EditorView.updateListener.of((update) => update.docChanged && on.change()),
    ],
  });
  const doc = () => view.state.doc;
  return {
    text: () => doc().toString(),
    chosen: () => {
      const { from, to } = view.state.selection.main;
      return from === to ? doc().toString() : doc().sliceString(from, to);
    },
    replace: (text) => view.dispatch({ changes: { from: 0, to: doc().length, insert: text } }),
    insert: (text) => (view.dispatch(view.state.replaceSelection(text)), view.focus()),
    focus: () => view.focus(),
    mark: (error) => {
      if (!error) return view.dispatch({ effects: wrong.of(undefined) });
      const line = doc().line(Math.max(1, Math.min(error.line, doc().lines)));
      const from = Math.min(line.from + Math.max(error.column - 1, 0), line.to);
      const word = /^[\w.]+|^\S/.exec(doc().sliceString(from, line.to))?.[0] ?? "";
      // There is no word at the end of the text; the character before it is marked instead.
      const place = { from: word ? from : Math.max(from - 1, 0), to: from + word.length, title: error.message };
      view.dispatch({ effects: wrong.of(place.from < place.to ? place : undefined) });
    },
    destroy: () => view.destroy(),
  };
}
