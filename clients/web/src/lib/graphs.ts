// The part of ECharts that only the graph needs.
import { GraphChart } from "echarts/charts";
import { use } from "echarts/core";

use([GraphChart]);

export { init } from "./charts";
