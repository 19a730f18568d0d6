// The graph of groups, topics and owners of partitions, in three columns.
import { exact, host } from "./format";
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
  /** Of many owners as one: of which topic. */
  topic?: string;
  /** Of many groups as one: how many. */
  rest?: number;
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

/** Most connections that are fetched for the graph and drawn. A group that has more has its owners counted. */
export const MOST_EDGES = 200;

const key = (...parts: string[]) => parts.join("\n");

function add(left: bigint | undefined, right: bigint | undefined): bigint | undefined {
  return left === undefined ? right : right === undefined ? left : left + right;
}

/** The graph of some groups, the worst first, and one node for those that are not among them. */
export function graph(consumers: Consumer[], relations: ConsumerEdge[], rest: number): Graph {
  const status = new Map(consumers.map((group) => [key(group.cluster, group.source, group.groupId), group.status]));
  const nodes = new Map<string, Node>();
  const edges = new Map<string, Edge>();
  const owners = new Map<string, Set<string>>();
  const node = (kind: Node["kind"], cluster: string, name: string, id: string, more: Partial<Node> = {}) => {
    const at = key(kind, cluster, id);
    if (!nodes.has(at)) nodes.set(at, { key: at, kind, cluster, name, y: 0, ...more });
    return at;
  };
  const join = (from: string, to: string, lag: bigint | undefined, of: string) => {
    edges.set(key(from, to), { from, to, lag: add(edges.get(key(from, to))?.lag, lag), status: of });
  };
  const counted = relations.length > MOST_EDGES;
  for (const { cluster, source, groupId, topic, owner, lag } of relations) {
    const of = status.get(key(cluster, source, groupId)) ?? "unknown";
    const group = node("group", cluster, groupId, key(source, groupId), { status: of, source });
    const at = node("topic", cluster, topic, topic);
    join(group, at, lag, of);
    if (!owner) continue;
    const id = key(source, groupId, owner.memberId);
    if (counted) owners.set(at, (owners.get(at) ?? new Set()).add(id));
    else join(at, node("owner", cluster, `${owner.clientId || owner.memberId} ${host(owner.clientHost)}`, id, { group: groupId, source }), lag, of);
  }
  for (const [topic, members] of owners) {
    const { cluster = "", name = "" } = nodes.get(topic) ?? {};
    join(topic, node("owner", cluster, `${exact(members.size)} members`, key("all", topic), { topic: name }), undefined, "ok");
  }
  const notes = [
    rest > 0 && `The ${exact(consumers.length)} worst groups are drawn, and ${exact(rest)} others as one; the list has them all.`,
    counted && `${exact(relations.length)} connections are too many to draw: owners are shown as one number per topic.`,
  ];
  const shown = [...nodes.values()];
  const height = place(shown, [...edges.values()]);
  if (rest > 0) shown.push({ key: "rest", kind: "group", cluster: "", name: `${exact(rest)} other groups`, rest, y: height + 0.5 });
  return { nodes: shown, edges: [...edges.values()], height: rest > 0 ? height + 1 : height, note: notes.filter(Boolean).join(" ") };
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
