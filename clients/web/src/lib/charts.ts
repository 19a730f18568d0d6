// The parts of ECharts that are used. Loaded when the first chart is.
import { GraphChart, LineChart } from "echarts/charts";
import { GridComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import { type ECharts, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([LineChart, GraphChart, GridComponent, TooltipComponent, MarkLineComponent, CanvasRenderer]);

export { init };
export type { ECharts };
