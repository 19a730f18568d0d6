// The server, by gRPC-Web.
import { Code, ConnectError, type Interceptor, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { OffsetService, SqlFormat } from "../gen/offsetd/v1/offsets_pb";
import { token } from "./token.svelte";

const authorize: Interceptor = (next) => async (request) => {
  const { value } = token;
  if (value) request.header.set("authorization", `Bearer ${value}`);
  const answer = await next(request);
  // A stream may be refused later.
  if (!answer.stream) token.accept(value);
  return answer;
};

export const client = createClient(
  OffsetService,
  createGrpcWebTransport({ baseUrl: location.origin, interceptors: [authorize] }),
);

/** What a statement gave. */
export interface Answer<Row> {
  rows: Row[];
  /** Clusters that are not in it, since they are not loaded yet. */
  incomplete: string[];
}

/** The rows of a statement that gives few. Clusters that it is about must be loaded: no rows are no answer. */
export async function rows<Row>(statement: string, signal?: AbortSignal, ...clusters: string[]): Promise<Answer<Row>> {
  const answer: Answer<Row> = { rows: [], incomplete: [] };
  for await (const { message } of client.sql({ statement, format: SqlFormat.JSON }, { signal })) {
    if (message.case === "batch") answer.rows.push(...message.value.jsonRows.map((row) => JSON.parse(row) as Row));
    if (message.case === "stats") answer.incomplete = message.value.incompleteClusters;
  }
  const missing = clusters.find((cluster) => answer.incomplete.includes(cluster));
  if (missing) throw new ConnectError(`Cluster ${missing} is not loaded yet.`, Code.Unavailable);
  return answer;
}

/** An error: its text, and its code for reports. */
export interface Problem {
  code: Code;
  message: string;
}

/** Every error passes through here, so that a missing token is requested for every call. */
export function problem(error: unknown): Problem {
  const { code, rawMessage } = ConnectError.from(error);
  if (code === Code.Unauthenticated) token.refuse();
  return { code, message: rawMessage };
}

/** Whether the error may mean that the server is unreachable. GetStatus decides: a server always answers it. */
export function maybeUnreachable({ code }: Problem): boolean {
  return [Code.Unknown, Code.Unavailable, Code.Internal, Code.Aborted, Code.Canceled].includes(code);
}
