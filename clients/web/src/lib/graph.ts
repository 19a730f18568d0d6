// The graph of groups, topics and owners of partitions, in three columns.
import { exact } from "./format";
import type { Consumer, ConsumerEdge } from "../gen/offsetd/v1/offsets_pb";

export interface Node {
  key: string;
  kind: "group" | "topic" | "owner";
  cluster: string;
  name: string;
  /** Of a group, and of an owner: where the group's offsets are kept. */
  source?: string;
  /** Of a group. */
  status?: string;
  /** Of an owner: its group. */
  group?: string;
  /** Of many groups or owners as one: of which topic. */
  topic?: string;
  y: number;
}

export interface Edge {
  from: string;
  to: string;
  lag: bigint | undefined;
  status: string;
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  /** Of the fullest column. */
  height: number;
  /** Describes the nodes that stand for many. */
  note: string;
}

/** Most edges that are drawn. */
export const MOST_EDGES = 300;
/** Edges from groups to topics that are drawn one by one where there are too many. */
const MOST_READS = 60;

/** From the worst status to the best. */
const SEVERITY = ["data_lost", "stopped", "stalled", "rewind", "lagging", "unknown", "ok"];

const key = (...parts: string[]) => parts.join("\n");

function add(left: bigint | undefined, right: bigint | undefined): bigint | undefined {
  return left === undefined ? right : right === undefined ? left : left + right;
}

export function graph(consumers: Consumer[], relations: ConsumerEdge[]): Graph {
  const status = new Map(consumers.map((group) => [key(group.cluster, group.source, group.groupId), group.status]));
  const nodes = new Map<string, Node>();
  const reads = new Map<string, Edge>();
  const owns = new Map<string, Edge>();
  const owners = new Map<string, Set<string>>();
  const node = (kind: Node["kind"], cluster: string, name: string, id: string, more: Partial<Node> = {}) => {
    const at = key(kind, cluster, id);
    if (!nodes.has(at)) nodes.set(at, { key: at, kind, cluster, name, y: 0, ...more });
    return at;
  };
  const join = (edges: Map<string, Edge>, from: string, to: string, lag: bigint | undefined, of: string) => {
    const known = edges.get(key(from, to));
    edges.set(key(from, to), { from, to, lag: add(known?.lag, lag), status: of });
  };
  for (const { cluster, source, groupId, topic, owner, lag } of relations) {
    const of = status.get(key(cluster, source, groupId)) ?? "unknown";
    const group = node("group", cluster, groupId, key(source, groupId), { status: of, source });
    const at = node("topic", cluster, topic, topic);
    join(reads, group, at, lag, of);
    if (!owner) continue;
    const name = `${owner.clientId || owner.memberId} ${owner.clientHost.replace(/^\//, "")}`;
    const member = node("owner", cluster, name, key(source, groupId, owner.memberId), { group: groupId, source });
    join(owns, at, member, lag, of);
    owners.set(at, (owners.get(at) ?? new Set()).add(member));
  }
  let note = "";
  let edges = [...reads.values(), ...owns.values()];
  if (edges.length > MOST_EDGES) {
    // Owners as a number of each topic; then only the groups that lag most.
    const many = (kind: Node["kind"], at: string, count: number, what: string) => {
      const { cluster = "", name = "" } = nodes.get(at) ?? {};
      return node(kind, cluster, `${exact(count)} ${what}${count === 1 ? "" : "s"}`, key("all", at), { topic: name });
    };
    const counted = [...owners].map(([topic, members]): Edge => ({
      from: topic, to: many("owner", topic, members.size, "member"), lag: undefined, status: "ok",
    }));
    note = `${exact(edges.length)} connections are too many to draw: owners are shown as one number per topic`;
    let left = [...reads.values()];
    if (left.length + counted.length > MOST_EDGES) {
      const rank = (edge: Edge) => SEVERITY.indexOf(edge.status);
      const lag = (edge: Edge) => edge.lag ?? -1n;
      left.sort((one, other) => rank(one) - rank(other) || (lag(other) > lag(one) ? 1 : lag(other) < lag(one) ? -1 : 0));
      note += `, and only the ${MOST_READS} connections with the worst status and the most lag are drawn one by one. Search to see others`;
      const others = new Map<string, Edge[]>();
      for (const edge of left.slice(MOST_READS)) {
        if (!others.has(edge.to)) others.set(edge.to, []);
        others.get(edge.to)?.push(edge);
      }
      const rest = [...others].map(([topic, of]): Edge => ({
        from: many("group", topic, of.length, "other group"), to: topic, lag: of.reduce((sum, one) => add(sum, one.lag), undefined as bigint | undefined), status: "ok",
      }));
      left = [...left.slice(0, MOST_READS), ...rest].slice(0, MOST_EDGES * 2 / 3);
    }
    const topics = new Set(left.map((edge) => edge.to));
    edges = [...left, ...counted.filter((edge) => topics.has(edge.from))].slice(0, MOST_EDGES);
    note += ".";
  }
  const used = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
  const shown = [...nodes.values()].filter((one) => used.has(one.key));
  return { nodes: shown, edges, height: place(shown, edges), note };
}

/** Orders each column by where its neighbours are, a few times: fewer lines cross. */
function place(nodes: Node[], edges: Edge[]): number {
  const columns = (["group", "topic", "owner"] as const).map((kind) => nodes.filter((node) => node.kind === kind));
  const height = Math.max(...columns.map((column) => column.length), 1);
  const at = new Map(nodes.map((node) => [node.key, node]));
  const near = new Map<string, Node[]>();
  for (const { from, to } of edges) {
    for (const [one, other] of [[from, to], [to, from]] as const) {
      const neighbour = at.get(other);
      if (neighbour) near.set(one, [...(near.get(one) ?? []), neighbour]);
    }
  }
  const spread = (column: Node[]) => column.forEach((node, index) => (node.y = ((index + 0.5) * height) / column.length));
  columns.forEach((column) => spread(column.sort((left, right) => (left.name < right.name ? -1 : 1))));
  for (let turn = 0; turn < 6; turn += 1) {
    for (const column of turn % 2 ? columns : [...columns].reverse()) {
      const middle = new Map(column.map((node) => {
        const ys = (near.get(node.key) ?? []).map((neighbour) => neighbour.y);
        return [node.key, ys.length ? ys.reduce((sum, y) => sum + y, 0) / ys.length : node.y];
      }));
      spread(column.sort((left, right) => (middle.get(left.key) ?? 0) - (middle.get(right.key) ?? 0)));
    }
  }
  return height;
}
