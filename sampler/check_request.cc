#include "sampler/prepare.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {

void check_request(const PrepareRequest& request) {
  const auto& options = request.options;
  if (options.fanouts.empty())
    fail(Kind::config, "--fanout is empty; give one number per layer, such as 10,10");
  for (const std::int32_t fanout : options.fanouts) {
    if (fanout < -1 || fanout == 0) {
      fail(Kind::config, "--fanout {} is not possible; use 1 or more, or -1 for all neighbors", fanout);
    }
    if (fanout == -1 && options.replace) {
      fail(Kind::config,
           "--fanout -1 takes all neighbors and cannot be drawn with replacement; drop --replace");
    }
  }
  if (options.sampler == SamplerKind::labor && options.replace) {
    fail(Kind::config,
         "--sampler labor draws without replacement; drop --replace, or use --sampler neighbor");
  }
  if (options.batch_dependency == 0)
    fail(Kind::config, "--batch-dependency is 0; use 1 for independent batches");
  if (options.fanouts.size() > 16)
    fail(Kind::config, "--fanout names {} hops; 16 are the most", options.fanouts.size());
  constexpr std::uint64_t read_gap_max = std::uint64_t{1} << 30;
  if (request.read_gap_bytes > read_gap_max) {
    fail(Kind::config, "--read-gap {} is not possible; use up to 1GiB",
         format_bytes(static_cast<double>(request.read_gap_bytes)));
  }
  if (options.batch_size == 0) fail(Kind::config, "--batch-size is 0; use 1 or more");
  if (options.sample_epochs == 0) fail(Kind::config, "--sample-epochs is 0; use 1 or more");
  if (!is_preparation_name(request.name)) {
    fail(Kind::config,
         "--name '{}' cannot name a preparation; use up to 200 of letters, digits, '-', '_', '.'",
         request.name);
  }
}

}  // namespace gneiss
