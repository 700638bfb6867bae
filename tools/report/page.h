// The page that shows a run.
#pragma once

#include <string>

#include "tools/report/run_record.h"

namespace gneiss {

// One HTML page that refers to nothing outside itself: curves, time by stage, rows by tier, the timeline of
// some batches, the plan beside what was measured, machine and options. Light or dark as the reader's system
// is.
std::string make_report_page(const RunRecord& run);

}  // namespace gneiss
