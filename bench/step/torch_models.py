"""sage, gcn and gat in PyTorch, under PyG's parameter names: the same computation as engine/nn, two ways.

default  what PyG does with an edge_index: a row of its source for each edge (index_select), summed by destination
         (scatter). PyG's own layers where it is installed, else the same operations in plain torch. GCNConv and GATConv
         multiply all sources before they aggregate.
csr      sums over neighbors as torch's product of a CSR matrix and a dense one, forward and backward, over indices and
         a transposition made before. Linear aggregations come before the product with the weights, for destinations
         are fewer; gat multiplies sources, as every implementation with attention over lin(h) does, and has a CSR
         product a head.
"""

import torch
import torch.nn.functional as F

try:
    import torch_geometric
    from torch_geometric.nn import GATConv, GCNConv, SAGEConv
    from torch_geometric.utils import add_self_loops
    HAS_PYG = True
except ImportError:
    HAS_PYG = False


def library():
    named = f"PyTorch {torch.__version__}"
    if HAS_PYG:
        return f"{named}, PyG {torch_geometric.__version__}"
    return f"{named}, PyG's operations written out"


# --- what gcn weighs edges with: engine/nn/gcn.h ---


def symmetric_weights(batch):
    """Per block: the weight of each edge and of each destination's own row."""
    degrees = [1.0 + torch.bincount(b.edge_index[1][b.edge_index[0] != b.edge_index[1]], minlength=b.dst_count)
               for b in batch.blocks]
    weights = []
    for hop, block in enumerate(batch.blocks):
        own = degrees[hop].float().rsqrt()
        known = own if hop == 0 else degrees[hop - 1].float().rsqrt()
        src, dst = block.edge_index
        is_known = src < len(known)
        of_source = torch.where(is_known, known[src.clamp(max=len(known) - 1)], own[dst])
        loops = torch.bincount(dst[src == dst], minlength=block.dst_count).float()
        weights.append((of_source * own[dst], known[:block.dst_count] * own * (1.0 - loops)))
    return weights


# --- PyG's default path ---


class PlainSage(torch.nn.Module):
    def __init__(self, columns, out):
        super().__init__()
        self.lin_l = torch.nn.Linear(columns, out)
        self.lin_r = torch.nn.Linear(columns, out, bias=False)

    def forward(self, x, block):
        src, dst = block.edge_index
        rows = x[0].index_select(0, src)
        sums = rows.new_zeros(block.dst_count, rows.shape[1]).scatter_add_(0, dst.view(-1, 1).expand_as(rows), rows)
        ones = torch.ones(len(dst), device=dst.device)
        count = torch.zeros(block.dst_count, device=dst.device).scatter_add_(0, dst, ones).clamp(min=1)
        return self.lin_l(sums / count.view(-1, 1)) + self.lin_r(x[1])


class PlainGcn(torch.nn.Module):
    def __init__(self, columns, out):
        super().__init__()
        self.lin = torch.nn.Linear(columns, out, bias=False)
        self.bias = torch.nn.Parameter(torch.zeros(out))

    def forward(self, x, edge_index, weights, dst_count):
        rows = weights.view(-1, 1) * self.lin(x).index_select(0, edge_index[0])
        sums = rows.new_zeros(dst_count, rows.shape[1])
        return sums.scatter_add_(0, edge_index[1].view(-1, 1).expand_as(rows), rows) + self.bias


class PlainGat(torch.nn.Module):
    def __init__(self, columns, out, heads, concat):
        super().__init__()
        self.heads, self.out, self.concat = heads, out, concat
        self.lin = torch.nn.Linear(columns, heads * out, bias=False)
        self.att_src = torch.nn.Parameter(torch.zeros(1, heads, out))
        self.att_dst = torch.nn.Parameter(torch.zeros(1, heads, out))
        self.bias = torch.nn.Parameter(torch.zeros(heads * out if concat else out))

    def forward(self, x, edge_index, dst_count):
        rows = self.lin(x).view(-1, self.heads, self.out)
        src, dst = edge_index
        a_src = (rows * self.att_src).sum(-1)
        a_dst = (rows[:dst_count] * self.att_dst).sum(-1)
        score = F.leaky_relu(a_src.index_select(0, src) + a_dst.index_select(0, dst), 0.2)
        alpha = softmax_over(score, dst, dst_count)
        messages = rows.index_select(0, src) * alpha.unsqueeze(-1)
        index = dst.view(-1, 1, 1).expand_as(messages)
        return self.finish(messages.new_zeros(dst_count, self.heads, self.out).scatter_add_(0, index, messages))

    def finish(self, out):
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias


def softmax_over(score, dst, dst_count):
    index = dst.view(-1, 1).expand_as(score)
    top = score.new_full((dst_count, score.shape[1]), float("-inf")).scatter_reduce_(0, index, score.detach(), "amax")
    e = (score - top.index_select(0, dst)).exp()
    return e / e.new_zeros(dst_count, score.shape[1]).scatter_add_(0, index, e).index_select(0, dst)


def with_loops(block):
    src, dst = block.edge_index
    keep = src != dst
    loop = torch.arange(block.dst_count, device=src.device)
    return torch.stack([torch.cat([src[keep], loop]), torch.cat([dst[keep], loop])])


class DefaultModel(torch.nn.Module):
    def __init__(self, kind, widths, heads):
        super().__init__()
        self.kind = kind
        layers = []
        for i, (columns, out) in enumerate(zip(widths, widths[1:])):
            last = i + 2 == len(widths)
            if kind == "sage":
                layers.append(SAGEConv((columns, columns), out) if HAS_PYG else PlainSage(columns, out))
            elif kind == "gcn":
                layers.append(GCNConv(columns, out, normalize=False) if HAS_PYG else PlainGcn(columns, out))
            else:
                per_head = out if last else out // heads
                layers.append(GATConv(columns, per_head, heads, concat=not last) if HAS_PYG
                              else PlainGat(columns, per_head, heads, not last))
        self.convs = torch.nn.ModuleList(layers)

    def prepare(self, batch):
        """What a step finds ready: gcn's weights, with a self-loop a destination as one more edge."""
        if self.kind != "gcn":
            return None
        ready = []
        for block, (edge, own) in zip(batch.blocks, symmetric_weights(batch)):
            loop = torch.arange(block.dst_count)
            ready.append((torch.cat([block.edge_index, torch.stack([loop, loop])], 1), torch.cat([edge, own])))
        return ready

    def forward(self, batch, ready):
        x = batch.features
        for i, (conv, block) in enumerate(zip(self.convs, batch.blocks)):
            if self.kind == "sage":
                both = (x, x[:block.dst_count])
                x = conv(both, block.edge_index) if HAS_PYG else conv(both, block)
            elif self.kind == "gcn":
                edges, weights = ready[i]
                if HAS_PYG:  # GCNConv.forward, but for fewer destinations than sources, which it does not take
                    x = conv.propagate(edges, x=conv.lin(x), edge_weight=weights,
                                       size=(block.src_count, block.dst_count)) + conv.bias
                else:
                    x = conv(x, edges, weights, block.dst_count)
            elif HAS_PYG:
                x = conv((x, x[:block.dst_count]), block.edge_index)
            else:
                x = conv(x, with_loops(block), block.dst_count)
            if i + 1 < len(self.convs):
                x = x.relu()
        return x


# --- CSR products ---


def csr_product(indptr, indices, values, shape, x):
    with torch.autograd.profiler.record_function("csr product"):
        return PRODUCT(torch.sparse_csr_tensor(indptr, indices, values, shape), x)


PRODUCTS = {"matmul": lambda a, x: a @ x}
if hasattr(torch.sparse, "mm") and "reduce" in (torch.sparse.mm.__doc__ or ""):
    PRODUCTS["sparse.mm with reduce"] = lambda a, x: torch.sparse.mm(a, x, "sum")
PRODUCT = PRODUCTS["matmul"]


def choose_product(name):
    global PRODUCT
    PRODUCT = PRODUCTS[name]


class Aggregate(torch.autograd.Function):
    """out = A x for fixed weights of the edges."""

    @staticmethod
    def forward(ctx, x, block, values, back_values):
        ctx.block, ctx.back_values = block, back_values
        return csr_product(block.indptr, block.indices, values, (block.dst_count, block.src_count), x)

    @staticmethod
    def backward(ctx, grad):
        block = ctx.block
        shape = (block.src_count, block.dst_count)
        return csr_product(block.back_indptr, block.back_indices, ctx.back_values, shape, grad), None, None, None


class WeightedAggregate(torch.autograd.Function):
    """out[:, h] = A(alpha[:, h]) rows[:, h]: the weights have a gradient too, edge by edge."""

    @staticmethod
    def forward(ctx, rows, alpha, block):
        ctx.block = block
        ctx.save_for_backward(rows, alpha)
        shape = (block.dst_count, block.src_count)
        heads = [csr_product(block.indptr, block.indices, alpha[:, h].contiguous(), shape, rows[:, h].contiguous())
                 for h in range(alpha.shape[1])]
        return torch.stack(heads, 1)

    @staticmethod
    def backward(ctx, grad):
        block = ctx.block
        rows, alpha = ctx.saved_tensors
        src, dst = block.edge_index
        d_alpha = (rows.index_select(0, src) * grad.index_select(0, dst)).sum(-1)
        back = alpha.index_select(0, block.back_edges)
        shape = (block.src_count, block.dst_count)
        heads = [csr_product(block.back_indptr, block.back_indices, back[:, h].contiguous(), shape,
                             grad[:, h].contiguous()) for h in range(alpha.shape[1])]
        return torch.stack(heads, 1), d_alpha, None


class CsrModel(torch.nn.Module):
    def __init__(self, kind, widths, heads):
        super().__init__()
        self.kind = kind
        layers = []
        for i, (columns, out) in enumerate(zip(widths, widths[1:])):
            last = i + 2 == len(widths)
            if kind == "sage":
                layers.append(PlainSage(columns, out))
            elif kind == "gcn":
                layers.append(PlainGcn(columns, out))
            else:
                layers.append(PlainGat(columns, out if last else out // heads, heads, not last))
        self.convs = torch.nn.ModuleList(layers)

    def prepare(self, batch):
        ready = []
        weights = symmetric_weights(batch) if self.kind == "gcn" else None
        for i, block in enumerate(batch.blocks):
            dst = block.edge_index[1]
            if self.kind == "sage":
                degree = torch.bincount(dst, minlength=block.dst_count).clamp(min=1).float()
                values = degree.reciprocal().index_select(0, dst)
                ready.append((values, values.index_select(0, block.back_edges)))
            elif self.kind == "gcn":
                values, own = weights[i]
                ready.append((values, values.index_select(0, block.back_edges), own.view(-1, 1)))
            else:
                looped = with_loops(block)
                order = torch.argsort(looped[1], stable=True)
                ready.append(csr_of(looped[:, order], block))
        return ready

    def forward(self, batch, ready):
        x = batch.features
        for i, (conv, block) in enumerate(zip(self.convs, batch.blocks)):
            if self.kind == "sage":
                x = conv.lin_l(Aggregate.apply(x, block, *ready[i])) + conv.lin_r(x[:block.dst_count])
            elif self.kind == "gcn":
                values, back_values, own = ready[i]
                x = conv.lin(Aggregate.apply(x, block, values, back_values) + own * x[:block.dst_count]) + conv.bias
            else:
                x = self.attend(conv, x, ready[i])
            if i + 1 < len(self.convs):
                x = x.relu()
        return x

    def attend(self, conv, x, block):
        rows = conv.lin(x).view(-1, conv.heads, conv.out)
        src, dst = block.edge_index
        a_src = (rows * conv.att_src).sum(-1)
        a_dst = (rows[:block.dst_count] * conv.att_dst).sum(-1)
        score = F.leaky_relu(a_src.index_select(0, src) + a_dst.index_select(0, dst), 0.2)
        alpha = softmax_over(score, dst, block.dst_count)
        return conv.finish(WeightedAggregate.apply(rows, alpha, block))


def csr_of(edge_index, block):
    from torch_batches import make_block  # beside this file
    indptr = torch.zeros(block.dst_count + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(edge_index[1], minlength=block.dst_count).cumsum(0)
    return make_block(indptr.numpy(), edge_index[0].numpy(), block.src_count)
