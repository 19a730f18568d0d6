/** A pattern (Rust's syntax) of just these texts. */
export function exactly(texts: string[]): string {
  const escape = (text: string) => text.replace(/[\\.+*?()|[\]{}^$#&\-~\s]/g, (sign) => {
    return /\s/.test(sign) ? `\\x{${sign.codePointAt(0)?.toString(16)}}` : `\\${sign}`;
  });
  return `^(?:${texts.map(escape).join("|")})$`;
}
