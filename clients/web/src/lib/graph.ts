// The relation graph: groups, the topics that they read, and who owns the partitions. Columns, so that it stays readable.
import type { Consumer, ConsumerEdge } from "../gen/offsetd/v1/offsets_pb";

export interface Node {
  key: string;
  kind: "group" | "topic" | "owner";
  cluster: string;
  name: string;
  /** Of a group. */
  status?: string;
  /** Of an owner: whose. */
  group?: string;
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
  /** What is not shown one by one, in words. */
  note: string;
}

/** More cannot be read. */
export const MOST_EDGES = 300;

const key = (...parts: string[]) => parts.join("\n");

function add(left: bigint | undefined, right: bigint | undefined): bigint | undefined {
  return left === undefined ? right : right === undefined ? left : left + right;
}

export function graph(consumers: Consumer[], relations: ConsumerEdge[]): Graph {
  const status = new Map(consumers.map((group) => [key(group.cluster, group.groupId), group.status]));
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
  for (const { cluster, groupId, topic, owner, lag } of relations) {
    const of = status.get(key(cluster, groupId)) ?? "unknown";
    const group = node("group", cluster, groupId, groupId, { status: of });
    const at = node("topic", cluster, topic, topic);
    join(reads, group, at, lag, of);
    if (!owner) continue;
    const name = `${owner.clientId || owner.memberId} ${owner.clientHost.replace(/^\//, "")}`;
    const member = node("owner", cluster, name, key(groupId, owner.memberId), { group: groupId });
    join(owns, at, member, lag, of);
    owners.set(at, (owners.get(at) ?? new Set()).add(member));
  }
  let note = "";
  let edges = [...reads.values(), ...owns.values()];
  if (edges.length > MOST_EDGES) {
    // Owners as a number of each topic; then only the groups that lag most.
    const counted = [...owners].map(([topic, members]) => {
      const { cluster = "" } = nodes.get(topic) ?? {};
      const many = node("owner", cluster, `${members.size} ${members.size === 1 ? "member" : "members"}`, key("all", topic));
      return { from: topic, to: many, lag: undefined, status: "ok" };
    });
    note = `${edges.length} edges are too many to read: the owners are shown as a number of each topic`;
    let left = [...reads.values()];
    if (left.length + counted.length > MOST_EDGES) {
      const severity = (edge: Edge) => edge.lag ?? -1n;
      left.sort((one, other) => (severity(other) > severity(one) ? 1 : severity(other) < severity(one) ? -1 : 0));
      note += `, and of ${left.length} reads those with the most lag. Search to see others`;
      left = left.slice(0, Math.max(MOST_EDGES - counted.length, MOST_EDGES / 2));
    }
    const topics = new Set(left.map((edge) => edge.to));
    edges = [...left, ...counted.filter((edge) => topics.has(edge.from))];
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
