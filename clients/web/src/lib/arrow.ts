// Results of statements: Arrow batches as they come, read cell by cell. Loaded with the first result.
import { type DataType, type RecordBatch, RecordBatchReader, type Schema, Type } from "apache-arrow";

export type { RecordBatch, Schema };

/** Batches of the bytes of an Arrow stream. */
export async function* batches(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<RecordBatch | Schema> {
  const reader = await RecordBatchReader.from(bytes);
  await reader.open();
  yield reader.schema;
  for await (const batch of reader) yield batch;
}

export function isNumeric(type: DataType): boolean {
  return [Type.Int, Type.Float, Type.Decimal].includes(type.typeId);
}

export function isTime(type: DataType): boolean {
  return type.typeId === Type.Timestamp;
}

export function isText(type: DataType): boolean {
  return type.typeId === Type.Utf8;
}

/** As the server writes it: no digits that are not needed, in threes. */
function timestamp(nanos: bigint): string {
  const below = ((nanos % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const whole = new Date(Number((nanos - below) / 1_000_000n)).toISOString().slice(0, 19);
  const digits = below === 0n ? "" : `.${below.toString().padStart(9, "0").replace(/(000){1,2}$/, "")}`;
  return `${whole}${digits}Z`;
}

function decimal(words: Uint32Array, scale: number): string {
  let value = words.reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n);
  value = BigInt.asIntN(words.length * 32, value);
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, "0");
  const point = scale ? `${digits.slice(0, -scale)}.${digits.slice(-scale)}` : digits;
  return value < 0n ? `-${point}` : point;
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : value.toString();
  if (value !== null && typeof value === "object" && "toJSON" in value) {
    const json = (value as { toJSON: () => unknown }).toJSON();
    return Array.isArray(json) ? json.map(plain) : json;
  }
  return value;
}

/** A cell as JSON has it; null is not known. */
export function cell(batch: RecordBatch, column: number, row: number): unknown {
  const vector = batch.getChildAt(column);
  const value: unknown = vector?.get(row);
  if (!vector || value === null || value === undefined) return null;
  const type = vector.type as DataType;
  if (type.typeId === Type.Timestamp) {
    const nanos: unknown = (vector.data[0]?.values as ArrayLike<unknown> | undefined)?.[row];
    return typeof nanos === "bigint" ? timestamp(nanos) : String(value);
  }
  if (type.typeId === Type.Decimal) return decimal(value as Uint32Array, (type as DataType & { scale: number }).scale);
  if (type.typeId === Type.Date) return new Date(Number(value)).toISOString().slice(0, 10);
  if (type.typeId === Type.Duration) return `${Number(value) / 1e9} s`;
  return plain(value);
}

export function asText(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Text that a spreadsheet may take for a formula (OWASP, "CSV Injection"), also behind white space. */
const FORMULA = /^(?:[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])/;

/** In CSV, an empty field is NULL; an empty string is written as "". Text is guarded as by the server's `?guard=1`. */
export function csv(schema: Schema, all: RecordBatch[]): Blob {
  const inQuotes = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const quote = (text: string) => (/[",\r\n]/.test(text) || text === "" ? inQuotes(text) : text);
  const guarded = (text: string) => (FORMULA.test(text) ? inQuotes(`'${text}`) : quote(text));
  const write = schema.fields.map(({ type }) => (isText(type) ? guarded : quote));
  const columns = schema.fields.map((_, at) => at);
  const parts = all.map((batch) => {
    let text = "";
    for (let row = 0; row < batch.numRows; row += 1) {
      const cells = columns.map((column) => cell(batch, column, row));
      text += `${cells.map((value, column) => (value === null ? "" : (write[column] ?? quote)(asText(value)))).join(",")}\n`;
    }
    return text;
  });
  return new Blob([`${schema.fields.map((field) => guarded(field.name)).join(",")}\n`, ...parts], { type: "text/csv" });
}

export function json(schema: Schema, all: RecordBatch[]): Blob {
  const names = schema.fields.map((field) => field.name);
  let first = true;
  const parts = all.map((batch) => {
    let text = "";
    for (let row = 0; row < batch.numRows; row += 1) {
      const object = Object.fromEntries(names.map((name, column) => [name, cell(batch, column, row)]));
      text += `${first ? "" : ",\n"}${JSON.stringify(object)}`;
      first = false;
    }
    return text;
  });
  return new Blob(["[", ...parts, "]\n"], { type: "application/json" });
}
