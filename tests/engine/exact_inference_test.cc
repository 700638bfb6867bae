// Exact inference against the model over one block of all nodes, against the f64 forward and against PyTorch,
// for any memory; what it moves, refuses and leaves behind.
#include "engine/infer/exact_inference.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "engine/compute/cpu/cpu_backend.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "storage/base/units.h"
#include "tests/engine/counting_backend.h"
#include "tests/engine/model_runs.h"
#include "tests/engine/reference_forward.h"
#include "tests/engine/stored_values.h"
#include "tests/engine/whole_graph.h"
#include "tests/support/expect_error.h"
#include "tests/support/file_size_limit.h"

using namespace gneiss;
using namespace gneiss::test;
using reference::Matrix;

namespace {

constexpr std::uint32_t columns = 37;
constexpr std::uint32_t classes = 5;

struct Case {
  std::string model;
  Dtype dtype = Dtype::f32;
  ModelOptions options;
};

std::vector<Case> cases() {
  std::vector<Case> all{
      {"sage", Dtype::f32, {}},
      {"sage", Dtype::f16, {.residual = true, .norm = NormKind::batch}},
      {"sage", Dtype::bf16, {.aggregator = Aggregator::max, .norm = NormKind::layer}},
      {"gcn", Dtype::f32, {}},
      {"gcn", Dtype::f16, {.residual = true, .norm = NormKind::batch}},
      {"gin", Dtype::f32, {.norm = NormKind::layer}},
      {"gin", Dtype::bf16, {.residual = true}},
      {"gat", Dtype::f32, {}},
      {"gat", Dtype::f16, {.residual = true, .norm = NormKind::batch}},
      {"mlp", Dtype::f32, {.residual = true, .norm = NormKind::batch}},
      {"mlp", Dtype::f16, {}},
      // Hidden layers narrower than half of the features: products come first there too.
      {"sage", Dtype::f16, {.hidden_columns = 16}},
      {"sage", Dtype::f32, {.hidden_columns = 16, .residual = true, .norm = NormKind::layer}},
      {"gcn", Dtype::bf16, {.hidden_columns = 16, .norm = NormKind::batch}},
      {"gcn", Dtype::f16, {.hidden_columns = 16, .residual = true}},
      // Heads that are wide for the features: there, and only there, sums come first.
      {"gat", Dtype::f16, {.hidden_columns = 72, .residual = true}},
      {"gat", Dtype::f32, {.hidden_columns = 96}},
      // One head, whose weights are its shares, in hidden layers that take sums first; one class.
      {"gat", Dtype::bf16, {.hidden_columns = 40, .head_count = 1}},
      {"gat", Dtype::f32, {.class_count = 1, .residual = true}},
      {"sage", Dtype::f32, {.activation = Activation::tanh}},
      {"gin", Dtype::f16, {.activation = Activation::elu}},
  };
  const std::uint32_t usual = ModelOptions().hidden_columns;
  for (Case& c : all) {
    c.options.feature_columns = columns;
    if (c.options.hidden_columns == usual) c.options.hidden_columns = 24;
    if (c.options.class_count == 0) c.options.class_count = classes;
    c.options.layer_count = 3;
    if (c.options.head_count == ModelOptions().head_count) c.options.head_count = 3;
    c.options.seed = 3;
  }
  return all;
}

SmallDatasetOptions graph_options(Dtype dtype) {
  return {.nodes = 700, .dim = columns, .dtype = dtype, .classes = classes};
}

// Biases and running statistics are not as they start.
void add_noise(ParameterSet& parameters) {
  RandomStream random(91);
  for (float& value : parameters.values()) value += static_cast<float>(0.2 * random.uniform());
}

std::vector<float> values_of(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* tensor = file.find(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  if (tensor->dtype != Dtype::f64) return stored_values<float>(file, name);
  std::vector<float> values;
  for (const double value : stored_values<double>(file, name)) values.push_back(static_cast<float>(value));
  return values;
}

Matrix matrix_of(const std::vector<float>& values, std::size_t width) {
  return reference::widen(ConstMatrixView(values.data(), values.size() / width, width));
}

std::vector<std::uint32_t> indices_of(const SafetensorsFile& file, const std::string& name) {
  const auto bits = values_of(file, name);
  std::vector<std::uint32_t> values(bits.size());
  std::memcpy(values.data(), bits.data(), bits.size() * sizeof(float));
  return values;
}

std::size_t files_below(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    count += entry.is_regular_file() ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("exact inference gives what the model gives over one block of all nodes, whatever the memory") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    CAPTURE(name_of(c.dtype));
    WholeGraph graph(graph_options(c.dtype), uneven_edges(700, 4000, 8));
    ThreadPool pool(2);
    const auto backend = make_cpu_backend(pool);
    const auto whole = make_model(c.model, *backend, c.options, graph.maxima(3));
    add_noise(whole->parameters());
    const BatchView batch = graph.batch(3);
    const Matrix expected = reference::widen(whole->forward(batch, {}));
    if (c.model == "sage" || c.model == "gat" || c.model == "mlp") {
      const auto parameters = read_named_parameters(*whole);
      CHECK(distance(expected, reference_logits(c.model, c.options, parameters, batch, {})) < 1e-5);
    }
    const auto run = [&](std::size_t run_columns, std::uint32_t destinations, std::size_t threads) {
      return run_exactly(graph.dataset(), graph.folder(),
                         {.model = c.model,
                          .options = c.options,
                          .destinations_max = destinations,
                          .run_columns_max = run_columns},
                         whole->parameters().values(), threads);
    };
    const ExactOutput at_once = run(1000, 4096, 2);
    const std::size_t width = c.options.class_count;
    CHECK(distance(matrix_of(at_once.values, width), expected) < 1e-6);
    const ExactOutput in_runs = run(5, 4096, 2);
    CHECK(equal_bits(in_runs.values, at_once.values));
    CHECK(equal_bits(run(16, 4096, 1).values, at_once.values));
    const ExactOutput small = run(7, 64, 3);
    CHECK(distance(matrix_of(small.values, width), expected) < 1e-6);
    const ExactOutput by_column = run(1, 64, 1);
    CHECK(equal_bits(by_column.values, small.values));
    for (const ExactOutput* output : {&at_once, &in_runs, &small, &by_column}) {
      for (std::size_t i = 0; i < 3; ++i) {
        CAPTURE(i);
        CHECK(output->costs[i].traffic == output->plan.layers[i].traffic);
        CHECK(output->costs[i].traffic.bytes_read >= output->costs[i].one_pass.bytes_read);
      }
    }
    // Products before sums where sums are linear and the products narrower by half; heads' sums are of the
    // input's columns each, of which, in their own type, the scores are made too.
    for (std::size_t i = 0; i < 3 && c.model != "mlp"; ++i) {
      CAPTURE(i);
      const ExactLayer& layer = in_runs.plan.layers[i];
      std::size_t products = layer.out_columns;
      bool projects = 2 * products <= layer.in_columns;
      if (c.model == "gin" || c.options.aggregator == Aggregator::max) projects = false;
      if (c.model == "gat") {
        const std::size_t heads = c.options.head_count;
        products = i == 2 ? heads * classes : layer.out_columns;
        if (c.options.class_count == 1 && i == 2) products = heads;
        const std::size_t input = size_of(layer.input_dtype) * layer.in_columns;
        projects = 4 * products <= 2 * input && 16 * products <= 8 * heads * layer.in_columns + input;
      }
      CHECK(layer.projects == projects);
      CHECK(layer.runs.size() == divide_up(projects ? products : layer.in_columns, 5));
    }
    CHECK(files_below(graph.folder()) == files_below(graph.dataset().folder()));
  }
}

TEST_CASE("blocks that end by their edges, and the least memory, give what one block of all nodes gives") {
  for (const Case& c : cases()) {
    CAPTURE(c.model);
    CAPTURE(name_of(c.dtype));
    WholeGraph graph(graph_options(c.dtype), uneven_edges(700, 60'000, 8));
    ThreadPool pool(2);
    const auto backend = make_cpu_backend(pool);
    const auto whole = make_model(c.model, *backend, c.options, graph.maxima(3));
    add_noise(whole->parameters());
    const Matrix expected = reference::widen(whole->forward(graph.batch(3), {}));
    const auto run = [&](std::uint64_t memory) {
      return run_exactly(graph.dataset(), graph.folder(),
                         {.model = c.model,
                          .options = c.options,
                          .memory_bytes = memory,
                          .destinations_max = 512,
                          .run_columns_max = memory == 0 ? 5 : 1000U},
                         whole->parameters().values());
    };
    ExactRequest request{.model = c.model, .options = c.options, .layers = 3, .destinations_max = 512};
    const std::uint64_t least = least_exact_memory(graph.dataset(), *backend, request);
    for (const std::uint64_t memory : {std::uint64_t{0}, least}) {
      CAPTURE(memory);
      const ExactOutput output = run(memory);
      CHECK(distance(matrix_of(output.values, c.options.class_count), expected) < 1e-6);
      for (std::size_t i = 0; i < 3; ++i) CHECK(output.costs[i].traffic == output.plan.layers[i].traffic);
    }
  }
}

TEST_CASE("what is projected does not depend on memory, and products of much more than the rows are not") {
  // Rows of 64 columns of f16, 12.8 MB, and products of as many bytes, twice or four times as many.
  WholeGraph graph({.nodes = 100'000, .dim = 64, .dtype = Dtype::f16, .classes = 3}, {{1, 2}, {2, 3}});
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  for (const std::uint32_t hidden : {32U, 64U, 128U}) {
    for (const std::uint64_t mebibytes : {400U, 60U, 20U}) {
      CAPTURE(hidden);
      CAPTURE(mebibytes);
      const ExactPlan plan = plan_exact_inference(graph.dataset(), *backend,
                                                  {.model = "gat",
                                                   .options = {.feature_columns = 64,
                                                               .hidden_columns = hidden,
                                                               .class_count = 3,
                                                               .layer_count = 2,
                                                               .head_count = 4},
                                                   .layers = 2,
                                                   .memory_bytes = mebibytes << 20,
                                                   .destinations_max = 1024});
      CHECK(plan.layers[0].projects == (hidden < 128));
      CHECK(plan.memory_bytes <= mebibytes << 20);
    }
  }
}

TEST_CASE("a model of one layer, whose product comes first, gives what it gives over one block") {
  for (const std::string model : {"sage", "gcn", "gat"}) {
    CAPTURE(model);
    const ModelOptions options{
        .feature_columns = columns, .class_count = classes, .layer_count = 1, .head_count = 4};
    WholeGraph graph(graph_options(Dtype::f16), uneven_edges(700, 4000, 8));
    ThreadPool pool(2);
    const auto backend = make_cpu_backend(pool);
    const auto whole = make_model(model, *backend, options, graph.maxima(1));
    add_noise(whole->parameters());
    const Matrix expected = reference::widen(whole->forward(graph.batch(1), {}));
    for (const std::size_t run_columns : {std::size_t{1000}, std::size_t{2}}) {
      const ExactOutput output = run_exactly(
          graph.dataset(), graph.folder(),
          {.model = model, .options = options, .run_columns_max = run_columns}, whole->parameters().values());
      CHECK(output.plan.layers[0].projects);
      CHECK(distance(matrix_of(output.values, classes), expected) < 1e-6);
      CHECK(output.costs[0].traffic == output.plan.layers[0].traffic);
    }
  }
}

TEST_CASE("exact inference gives PyTorch's numbers over a whole graph") {
  const auto file = SafetensorsFile::open(GNEISS_GOLDEN_FOLDER "/whole_graph.safetensors");
  const auto sources = indices_of(file, "sources");
  const auto destinations = indices_of(file, "destinations");
  EdgeList edges;
  for (std::size_t i = 0; i < sources.size(); ++i) edges.emplace_back(sources[i], destinations[i]);
  const auto number = [&](const char* key) {
    return static_cast<std::uint32_t>(std::stoi(file.metadata().at(key)));
  };
  const auto dim = static_cast<std::uint32_t>(file.find("features")->shape[1]);
  WholeGraph graph({.nodes = static_cast<std::uint32_t>(file.find("features")->shape[0]),
                    .dim = dim,
                    .classes = number("classes"),
                    .features = values_of(file, "features")},
                   edges);
  for (const std::string name : {"sage", "sage_max", "gcn", "gin", "gat"}) {
    CAPTURE(name);
    const std::string model_name = name.substr(0, name.find('_'));
    const ModelOptions options{.feature_columns = dim,
                               .hidden_columns = number("hidden"),
                               .class_count = number("classes"),
                               .layer_count = 3,
                               .head_count = number("heads"),
                               .aggregator = name == "sage_max" ? Aggregator::max : Aggregator::mean};
    ThreadPool pool(1);
    const auto backend = make_cpu_backend(pool);
    const auto model = make_model(model_name, *backend, options, graph.maxima(3));
    for (const Parameter& parameter : model->parameters().parameters()) {
      model->parameters().write(parameter, values_of(file, name + "." + parameter.name));
    }
    for (const std::size_t run_columns : {std::size_t{1000}, std::size_t{4}}) {
      const auto run = [&](std::uint32_t layers) {
        return run_exactly(graph.dataset(), graph.folder(),
                           {.model = model_name,
                            .options = options,
                            .layers = layers,
                            .keeps_output = true,
                            .destinations_max = 32,
                            .run_columns_max = run_columns},
                           model->parameters().values());
      };
      const ExactOutput logits = run(3);
      CHECK(distance(matrix_of(logits.values, logits.columns),
                     matrix_of(values_of(file, name + ".logits"), number("classes"))) < 1e-5);
      const ExactOutput embeddings = run(2);
      CHECK(distance(matrix_of(embeddings.values, embeddings.columns),
                     matrix_of(values_of(file, name + ".embeddings"), number("hidden"))) < 1e-5);
    }
  }
}

TEST_CASE("a budget too small is refused with one that does, and that one does") {
  WholeGraph graph(graph_options(Dtype::f32), uneven_edges(700, 4000, 8));
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  for (Case c : cases()) {
    if (c.dtype != Dtype::f32) continue;
    CAPTURE(c.model);
    ExactRequest request{
        .model = c.model, .options = c.options, .layers = 3, .memory_bytes = 1U << 20, .program_bytes = 0};
    std::string message;
    try {
      static_cast<void>(plan_exact_inference(graph.dataset(), *backend, request));
    } catch (const Error& error) {
      CHECK(error.kind() == Kind::config);
      message = error.what();
    }
    const std::size_t at = message.find(" nodes: ");
    REQUIRE_MESSAGE(at != std::string::npos, message);
    const std::string would_do = message.substr(at + 8, message.find(" would do") - at - 8);
    request.memory_bytes = parse_bytes(would_do, "memory");
    const ExactPlan plan = plan_exact_inference(graph.dataset(), *backend, request);
    CHECK(plan.memory_bytes <= request.memory_bytes);
  }
}

TEST_CASE("a plan, or that there is none, takes no memory for a model") {
  WholeGraph graph(graph_options(Dtype::f32), uneven_edges(700, 4000, 8));
  ThreadPool pool(1);
  const auto inner = make_cpu_backend(pool);
  for (Case c : cases()) {
    if (c.dtype != Dtype::f32) continue;
    CAPTURE(c.model);
    CountingBackend backend(*inner);
    c.options.hidden_columns = 60'000;  // 13 GiB and more of parameters
    const ExactRequest request{
        .model = c.model, .options = c.options, .layers = 3, .memory_bytes = 1ULL << 30, .program_bytes = 0};
    EXPECT_ERROR(plan_exact_inference(graph.dataset(), backend, request), Kind::config, "would do");
    CHECK(backend.allocated_bytes() == 0);
    c.options.hidden_columns = hidden_columns_max + 1;
    EXPECT_ERROR(make_model(c.model, backend, c.options, graph.maxima(3)), Kind::config, "--hidden is 65537");
    CHECK(backend.allocated_bytes() == 0);
  }
}

TEST_CASE("memory decides how many columns are in memory, and the plan stays within it") {
  // 100,000 nodes with 64 columns: 24 MiB of rows.
  WholeGraph graph({.nodes = 100'000, .dim = 64, .classes = 3}, {{1, 2}, {2, 3}});
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  for (const std::uint64_t mebibytes : {200U, 24U, 16U, 13U}) {
    CAPTURE(mebibytes);
    const ExactPlan plan = plan_exact_inference(
        graph.dataset(), *backend,
        {.model = "sage",
         .options = {.feature_columns = 64, .hidden_columns = 64, .class_count = 33, .layer_count = 2},
         .layers = 2,
         .memory_bytes = mebibytes << 20});
    CHECK(plan.memory_bytes <= mebibytes << 20);
    std::size_t widest = 0;
    for (const ExactLayer& layer : plan.layers) {
      CHECK((layer.runs.size() == 1) == (mebibytes == 200));
      widest = std::max(widest, layer.runs.front().count);
    }
    CHECK(plan.resident_bytes == 100'000ULL * 4 * widest);
    CHECK(plan.resident_bytes < plan.memory_bytes);
  }
}

TEST_CASE("runs of columns cover all of them and prefer whole lines") {
  CHECK(cut_columns(128, 128, 4) == std::vector<ColumnRun>{{0, 128}});
  CHECK(cut_columns(128, 19, 4).size() == 8);  // rather than 7 of 19
  CHECK(cut_columns(128, 31, 4).size() == 8);
  CHECK(cut_columns(128, 19, 4).back() == ColumnRun{112, 16});
  CHECK(cut_columns(100, 60, 4) == std::vector<ColumnRun>{{0, 50}, {50, 50}});
  CHECK(cut_columns(5, 1, 2).size() == 5);
  for (const std::size_t most : {1U, 3U, 17U, 40U}) {
    std::size_t next = 0;
    for (const ColumnRun& run : cut_columns(77, most, 4)) {
      CHECK(run.first == next);
      CHECK(run.count <= most);
      next += run.count;
    }
    CHECK(next == 77);
  }
}

namespace {

void run_model(WholeGraph& graph, const std::string& name = "sage") {
  const Case c = cases().front();
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const auto model = make_model(name, *backend, c.options, std::vector<BlockMaxima>(3, {1, 1, 1}));
  run_exactly(graph.dataset(), graph.folder(),
              {.model = name, .options = c.options, .destinations_max = 64, .run_columns_max = 5},
              model->parameters().values());
}

void flip_byte(const std::filesystem::path& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const auto byte = static_cast<char>(file.get() ^ 0x40);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

}  // namespace

TEST_CASE("damaged rows, edges and offsets are reported, and nothing is left behind") {
  for (const SectionKind kind :
       {SectionKind::feature_rows, SectionKind::csc_indices, SectionKind::csc_indptr}) {
    WholeGraph graph(graph_options(Dtype::f32), uneven_edges(700, 4000, 8));
    const SectionFile& file =
        kind == SectionKind::feature_rows ? graph.dataset().features() : graph.dataset().graph();
    flip_byte(file.name(), file.require(kind).offset + 1000);
    for (const char* model : {"sage", "gat"}) {
      EXPECT_ERROR(run_model(graph, model), Kind::corruption, "do not match their checksum");
    }
    CHECK(files_below(graph.folder()) == files_below(graph.dataset().folder()));
  }
  WholeGraph strange(graph_options(Dtype::f32), {{5, 6}, {700, 8}});
  EXPECT_ERROR(run_model(strange), Kind::corruption, "names node 700");
  WholeGraph stranger(graph_options(Dtype::f32), {{5, 6}, {3'000'000'000U, 8}});
  EXPECT_ERROR(run_model(stranger), Kind::corruption, "names node 3000000000");
}

TEST_CASE("a full drive is one sentence, known before the work where it can be") {
  WholeGraph graph(graph_options(Dtype::f32), uneven_edges(700, 4000, 8));
  {
    const FileSizeLimit limit(16384);
    EXPECT_ERROR(run_model(graph), Kind::io, "");
  }
  CHECK(files_below(graph.folder()) == files_below(graph.dataset().folder()));
  ExactPlan plan;
  plan.scratch_bytes = 1ULL << 60;
  EXPECT_ERROR(check_scratch_space(plan, graph.folder(), 0), Kind::io, "are free");
  plan.scratch_bytes = 0;
  check_scratch_space(plan, graph.folder(), 4096);
}
