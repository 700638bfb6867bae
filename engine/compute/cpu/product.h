// Single-threaded matrix products, row-major: out = a . b, or out += a . b, either side transposed.
//
// Why:    oneDNN's are within a few percent of this machine's peak; one thread each, so that how a sum is
//         split never depends on how many threads there are.
#pragma once

#include "engine/compute/matrix_view.h"

namespace gneiss::cpu {

enum class Side : char { plain = 'N', transposed = 'T' };
enum class Into { set, add };

// Shapes are those after transposition: a[n, k], b[k, m], out[n, m]. Calls from many threads may overlap.
void multiply(ConstMatrixView a, Side a_side, ConstMatrixView b, Side b_side, MatrixView out,
              Into into = Into::set);

}  // namespace gneiss::cpu
