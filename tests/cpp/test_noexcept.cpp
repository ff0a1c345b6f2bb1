/* SPDX-License-Identifier: Apache-2.0 */
/* fattr.hpp without exceptions: test_noexcept MLP.onnx, built with -fno-exceptions. */
#include <fattr/fattr.hpp>

#include <cstdio>
#include <vector>

int main(int argc, char **argv)
{
    static_assert(!FATTR_EXCEPTIONS);
    if (argc != 2) return 2;
    auto context = fattr::context::try_create();
    auto model = fattr::model::try_load(*context, argv[1]);
    std::vector<float> x(20 * 784);
    for (std::size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>(i * 7919 % 1009) / 1009;
    auto references = fattr::refset::try_create(*context, fattr::array_view(x.data(), {20, 1, 28, 28}));
    if (!context || !model || !references) return std::puts(fa_error_message()), 1;
    int calls = 0;
    auto cancelled = fattr::sketch::try_build(*model, *references, {}, {}, [&](const char *, std::int64_t, std::int64_t) { return ++calls > 0; });
    if (cancelled.status() != FA_ERR_CANCELLED || !calls || *cancelled) return 1;
    auto sketch = fattr::sketch::try_build(*model, *references);
    if (!sketch) return std::puts(sketch.message()), 1;
    auto scorer = fattr::scorer::try_create(*sketch, *model);
    fa_result result;
    if (!scorer || scorer->try_score(fattr::array_view(x.data(), {1, 1, 28, 28}), result) != FA_OK) return std::puts(fa_error_message()), 1;
    auto nothing = fattr::model::try_load(*context, "/nowhere");
    if (nothing || nothing.status() != FA_ERR_IO || !nothing.message()[0]) return 1;
    std::printf("score %.3f of %zu references without exceptions\n", result.score, fattr::couplings(result).size());
    return 0;
}
