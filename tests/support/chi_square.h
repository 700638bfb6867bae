// How probable a deviation from equal frequencies is: Pearson's chi-square, and its tail probability.
//
// Source: the incomplete gamma function by series and by continued fraction (Numerical Recipes, 6.2).
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

namespace gneiss::test {

// P(X > statistic) for X distributed as chi-square with `freedom` degrees of freedom.
inline double chi_square_tail(double statistic, double freedom) {
  const double a = freedom / 2;
  const double x = statistic / 2;
  if (x <= 0) return 1;
  const double scale = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a;
    double sum = term;
    for (double n = a + 1; term > sum * 1e-15; ++n) {
      term *= x / n;
      sum += term;
    }
    return 1 - sum * scale;
  }
  double b = x + 1 - a;
  double c = 1e300;
  double d = 1 / b;
  double fraction = d;
  for (int i = 1; i < 10'000; ++i) {
    const double factor = -i * (i - a);
    b += 2;
    d = 1 / (factor * d + b);
    c = b + factor / c;
    const double step = c * d;
    fraction *= step;
    if (std::abs(step - 1) < 1e-15) break;
  }
  return fraction * scale;
}

// The probability of `counts` at least this uneven when each of `draws` draws takes `taken` distinct ones of
// counts.size() with equal chances. A draw's entries are negatively correlated, which shrinks Pearson's
// statistic by (n - 1) / (n - taken): see sampling without replacement; taken = 1 is Pearson's own.
inline double equal_frequency_p(std::span<const std::uint64_t> counts, double draws, double taken) {
  const auto n = static_cast<double>(counts.size());
  const double expected = draws * taken / n;
  double statistic = 0;
  for (const std::uint64_t count : counts) {
    const double deviation = static_cast<double>(count) - expected;
    statistic += deviation * deviation / expected;
  }
  return chi_square_tail(statistic * (n - 1) / (n - taken), n - 1);
}

}  // namespace gneiss::test
