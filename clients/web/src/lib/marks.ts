// The part of ECharts that only charts with marks need.
import { MarkLineComponent } from "echarts/components";
import { use } from "echarts/core";

use([MarkLineComponent]);

export { init } from "./charts";
