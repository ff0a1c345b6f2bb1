/* SPDX-License-Identifier: Apache-2.0 */
/* fattr.hpp over the shared library: life, both kinds of errors, callables through C, bad input. test_fattr MLP.onnx CLEAN.onnx */
#include <fattr/fattr.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define CHECK(x)                                                                          \
    do {                                                                                  \
        if (!(x)) {                                                                       \
            std::fprintf(stderr, "%s:%d: %s [%s]\n", __FILE__, __LINE__, #x, fa_error_message()); \
            std::exit(1);                                                                 \
        }                                                                                 \
    } while (0)

namespace {

using images = std::vector<float>;
const std::array<std::int64_t, 3> item{1, 28, 28};

images make_images(int n, unsigned seed)
{
    images x(static_cast<std::size_t>(n) * 784);
    std::uint64_t state = seed * 2654435761u + 88172645463325252u;
    for (float &v : x) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        v = static_cast<float>(state >> 40) / 16777216.0f;
    }
    return x;
}

fattr::array_view view(const images &x) { return fattr::array_view::rows(fattr::span<const float>(x), item); }

template <class F> fa_status thrown_by(F f)
{
    try {
        f();
    } catch (const fattr::error &e) {
        CHECK(e.what()[0] && std::string(e.name()) == fa_status_name(e.status()));
        return e.status();
    }
    return FA_OK;
}

struct world {
    fattr::context context = fattr::context::create();
    fattr::model model;
    fattr::sketch sketch;
    images references = make_images(40, 1);
    world(const char *path) : model(fattr::model::load(context, path))
    {
        auto r = fattr::refset::create(context, view(references)), c = fattr::refset::create(context, view(make_images(39, 2)));
        sketch = fattr::sketch::build(model, r, c);
    }
};

static_assert(!std::is_copy_constructible_v<fattr::model> && !std::is_copy_assignable_v<fattr::scorer>);
static_assert(std::is_nothrow_move_constructible_v<fattr::sketch> && std::is_nothrow_move_assignable_v<fattr::scorer>);
static_assert(noexcept(std::declval<fattr::scorer &>().try_score(std::declval<fa_array>(), std::declval<fa_result &>())));
static_assert(!std::is_invocable_v<decltype(static_cast<fa_status (fattr::scorer::*)(const fattr::inputs &, fa_result &) noexcept>(&fattr::scorer::try_score)), const fattr::scorer &,
                                   const fattr::inputs &, fa_result &>); // scoring is not const: one thread at a time
static_assert(fattr::dtype_of<long long>() == FA_INT64 && fattr::dtype_of<unsigned long>() == FA_UINT64 && fattr::dtype_of<bool>() == FA_BOOL);
static_assert(std::is_convertible_v<images &, fattr::span<const float>> && !std::is_convertible_v<const images &, fattr::span<float>>);

void life(world &w)
{
    fattr::scorer_options o;
    o.max_batch = 8;
    o.want_residual = 1;
    fattr::scorer scorer(w.sketch, w.model, o);
    fa_result r = scorer.score(fattr::array_view(w.references.data(), {1, 1, 28, 28}));
    CHECK(fattr::couplings(r).size() == 40 && fattr::weights(r).size() == 40);
    CHECK(static_cast<std::int64_t>(fattr::residual(r).size()) == w.sketch.info().signature_length);
    CHECK(std::fabs(fattr::couplings(r)[0] - 1) < 1e-4f);
    std::vector<fa_result> many(8);
    images eight(w.references.begin(), w.references.begin() + 8 * 784);
    scorer.score(view(eight), many);
    CHECK(std::fabs(many[0].score - r.score) < 1e-5 && many[7].predicted == w.sketch.reference(7).predicted);
    fa_array arrays[] = {view(eight).c()};
    std::int64_t shape[] = {8, 1, 28, 28};
    arrays[0].shape = shape;
    scorer.score(arrays, many);
    CHECK(scorer.timing().forward_ns > 0);

    auto logits = w.model.run(view(w.references));
    CHECK(logits.shape().size() == 2 && logits.shape()[0] == 40 && logits.elements<float>().size() == 400 && logits.elements<std::int64_t>().empty());
    CHECK(w.model.info().class_count == 10 && std::string(w.model.input(0).name) == "image" && w.model.layer(0).out > 0);
    CHECK(w.sketch.audit().size() == 40 && w.sketch.calibration(FA_SCORE_SPAN).size() == 39);
    double clean[] = {0.1, 0.2, 0.3}, odd[] = {0.25, 0.9};
    CHECK(std::fabs(fattr::detection_metrics(clean, odd).auroc - 5.0 / 6) < 1e-12);

    fattr::sketch other = w.sketch.share(), moved = std::move(other);
    CHECK(!other && moved && moved.get() == w.sketch.get());
    moved = w.sketch.recalibrate(w.model, fattr::refset{});
    CHECK(moved.info().calibration_count == 0 && fattr::scorer(moved, w.model).score(view(images(784))).flagged == -1);
    fattr::sketch adopted(moved.release());
    CHECK(!moved && adopted.info().reference_count == 40);

    std::vector<std::int64_t> labels(40, 3), ids(40);
    for (std::size_t i = 0; i < 40; i++) ids[i] = 100 + static_cast<std::int64_t>(i);
    auto labelled = fattr::refset::create(w.context, view(w.references), labels, ids);
    CHECK(labelled.size() == 40 && fattr::sketch::build(w.model, labelled).reference(2).id == 102);
}

void files(world &w, const char *path)
{
    w.sketch.save(path);
    auto read = fattr::sketch::load(w.context, path);
    read.check(w.model);
    images x = make_images(1, 9);
    fattr::scorer a(read, w.model), b(w.sketch, w.model);
    CHECK(a.score(view(x)).score == b.score(view(x)).score);
    std::remove(path);
    CHECK(thrown_by([&] { fattr::sketch::load(w.context, path); }) == FA_ERR_IO);
}

void refused(world &w, const char *clean)
{
    CHECK(thrown_by([&] { fattr::model::load(w.context, "/nowhere.onnx"); }) == FA_ERR_IO);
    CHECK(thrown_by([&] { fattr::model::load(w.context, "junk", 4); }) == FA_ERR_FORMAT);
    CHECK(thrown_by([&] { fattr::scorer(w.sketch, fattr::model::load(w.context, clean)); }) == FA_ERR_MISMATCH);
    CHECK(fattr::model::try_load(w.context, nullptr).status() == FA_ERR_ARGUMENT);
    fattr::model_options bad;
    bad.precision = 7;
    CHECK(thrown_by([&] { fattr::model::load(w.context, clean, bad); }) == FA_ERR_ARGUMENT);
    fattr::scorer scorer(w.sketch, w.model);
    images x(784, 0.5f), nan(784, NAN), odd(783);
    fa_result r;
    CHECK(scorer.try_score(view(nan), r) == FA_ERR_NOT_FINITE);
    CHECK(scorer.try_score(view(odd), r) == FA_ERR_SHAPE);
    CHECK(scorer.try_score(view(images(0)), r) != FA_OK);
    CHECK(scorer.try_score(fattr::array_view(x.data(), {28, 28}), r) == FA_ERR_SHAPE);
    CHECK(scorer.try_score(fattr::array_view(x.data(), {1, 1, 1, 1, 1, 1, 1, 28, 28}), r) == FA_ERR_SHAPE);
    CHECK(scorer.try_score(fattr::array_view(static_cast<const float *>(nullptr), {1, 1, 28, 28}), r) == FA_ERR_ARGUMENT);
    CHECK(scorer.try_score(fattr::array_view(x.data(), 99, item), r) == FA_ERR_DTYPE);
    CHECK(scorer.try_score(std::vector<fa_array>{}, r) != FA_OK);
    CHECK(scorer.try_score(view(x), fattr::span<fa_result>()) != FA_OK);
    CHECK(thrown_by([&] { scorer.score(fattr::array_view(x.data(), {1, 1, 28, 28}, "nothing")); }) != FA_OK);
    CHECK(scorer.try_score(view(x), r) == FA_OK);
    std::int64_t three[] = {1, 2, 3};
    CHECK(fattr::refset::try_create(w.context, view(x), three).status() == FA_ERR_SHAPE);
    double too_short[2];
    CHECK(w.sketch.try_audit(FA_SCORE_CONE, too_short) == FA_ERR_SHAPE);
    CHECK(w.sketch.try_layer(99).status() == FA_ERR_ARGUMENT && w.model.try_input(-1).status() == FA_ERR_ARGUMENT);
    double nothing = 0;
    CHECK(fattr::try_detection_metrics(fattr::span<const double>(&nothing, 0), fattr::span<const double>(&nothing, 1)).status() == FA_ERR_ARGUMENT);

    // owners that own nothing
    fattr::scorer moved = std::move(scorer);
    CHECK(scorer.try_score(view(x), r) == FA_ERR_ARGUMENT && moved.try_score(view(x), r) == FA_OK);
    CHECK(fattr::scorer().try_timing().status() == FA_ERR_ARGUMENT && fattr::model().try_info().status() == FA_ERR_ARGUMENT);
    CHECK(fattr::sketch().try_save("x") == FA_ERR_ARGUMENT && fattr::scorer::try_create({}, {}).status() == FA_ERR_ARGUMENT);
    CHECK(fattr::sketch::try_build({}, {}).status() == FA_ERR_ARGUMENT && fattr::model().try_run(view(x)).status() == FA_ERR_ARGUMENT);
    CHECK(fattr::model::try_load({}, "x").status() == FA_ERR_ARGUMENT && !fattr::context().share() && fattr::refset().size() == 0);
    CHECK(fattr::tensor().elements<float>().empty() && fattr::tensor().shape().empty());
}

void traces(world &w)
{
    auto r = fattr::refset::create(w.context, view(w.references)), c = fattr::refset::create(w.context, view(make_images(39, 2)));
    fattr::trace_options t;
    t.draws = 10;
    fattr::sketch_options o;
    o.trace = &t;
    auto first = fattr::sketch::build(w.model, r, c, o);
    t.first_chain = 1;
    auto second = fattr::sketch::build(w.model, r, c, o);
    const fa_sketch *both[] = {first.get(), second.get()};
    auto merged = fattr::sketch::merge(both);
    CHECK(merged.trace_info().draw_count == 20 && w.sketch.try_trace_info().status() == FA_ERR_STATE && fattr::sketch::try_merge({}).status() == FA_ERR_ARGUMENT);
    CHECK(fattr::scorer(merged, w.model).score(fattr::array_view(w.references.data(), {1, 1, 28, 28})).draws == 20);
}

void shards(world &w)
{
    images half[] = {images(w.references.begin(), w.references.begin() + 20 * 784), images(w.references.begin() + 20 * 784, w.references.end())};
    std::int64_t ids[40], n = 0;
    for (std::int64_t &id : ids) id = n++;
    auto a = fattr::refset::create(w.context, view(half[0]), {}, {ids, 20}), b = fattr::refset::create(w.context, view(half[1]), {}, {ids + 20, 20});
    auto c = fattr::refset::create(w.context, view(make_images(39, 2)));
    fattr::sketch_options o;
    o.keep_moments = 1;
    auto s = fattr::sketch::build(w.model, a, {}, o), t = fattr::sketch::build(w.model, b, {}, o);
    const fa_sketch *sketches[] = {t.get(), s.get()};
    const fa_refset *sets[] = {b.get(), a.get()}, *swapped[] = {a.get(), b.get()};
    auto merged = fattr::sketch::merge_shards(w.model, sketches, sets, c);
    auto got = merged.calibration(), want = w.sketch.calibration();
    CHECK(merged.info().reference_count == 40 && got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); i++) CHECK(std::fabs(got[i] - want[i]) < 1e-5);
    CHECK(thrown_by([&] { fattr::sketch::merge_shards(w.model, sketches, swapped); }) == FA_ERR_MISMATCH);
    CHECK(fattr::sketch::try_merge_shards(w.model, sketches, {sets, 1}).status() == FA_ERR_SHAPE);
    CHECK(fattr::sketch::try_merge_shards(w.model, {}, {}).status() == FA_ERR_ARGUMENT);
}

void mechanisms(world &w, const char *path)
{
    fattr::scorer_options o;
    o.want_residual = 1;
    fattr::scorer scorer(w.sketch, w.model, o);
    auto none = fattr::mechanisms::create(w.sketch);
    const std::size_t length = none.fingerprint_length();
    CHECK(none.size() == 0 && length > 0);
    images x = make_images(12, 9);
    for (std::size_t i = 0; i < 6 * 784; i++) x[i] = 0.1f * x[i] + (i % 28 % 14 < 7 ? 0.9f : 0.0f); /* half of them striped */
    std::vector<float> prints(12 * length);
    for (std::size_t i = 0; i < 12; i++)
        none.fingerprint(scorer.score(fattr::array_view(x.data() + i * 784, {1, 1, 28, 28})), {prints.data() + i * length, length});
    std::int64_t group[12];
    auto known = none.group(prints, group);
    CHECK(known.size() >= 2 && known.info(0).count >= 6);
    for (int i = 0; i < 6; i++) CHECK(group[i] == group[0]);
    for (int i = 6; i < 12; i++) CHECK(group[i] != group[0]);
    double likeness = 0;
    CHECK(none.assign({prints.data(), length}) == -1 && known.assign({prints.data(), length}, &likeness) == group[0] && likeness > 0.5);
    known.save(path);
    CHECK(fattr::mechanisms::load(w.sketch, path).size() == known.size() && !std::remove(path));
    CHECK(thrown_by([&] { known.info(known.size()); }) == FA_ERR_ARGUMENT);
    CHECK(known.try_group({prints.data(), length + 1}, {group, 1}).status() == FA_ERR_SHAPE && known.try_assign({prints.data(), 1}).status() == FA_ERR_SHAPE);
    CHECK(fattr::mechanisms::try_load(w.sketch, "nothing", 7).status() == FA_ERR_FORMAT);
}

void monitor(world &w, const char *path)
{
    auto watch = fattr::monitor::create(w.context);
    const std::vector<double> usual(50, 0.5), rare(40, 0.001);
    CHECK(!watch.update(usual) && watch.state().count == 50);
    watch.save(path);
    auto again = fattr::monitor::load(w.context, path);
    CHECK(!std::remove(path) && again.update(rare) && again.state().alarm_at > 50 && watch.state().alarm_at == 0);
    again.reset();
    const double wrong = 0;
    CHECK(again.state().count == 0 && thrown_by([&] { again.update({&wrong, 1}); }) == FA_ERR_ARGUMENT);
    fattr::monitor_options o;
    o.false_alarm = 2;
    CHECK(fattr::monitor::try_create(w.context, o).status() == FA_ERR_ARGUMENT);
}

void callables(world &w)
{
    auto r = fattr::refset::create(w.context, view(w.references));
    std::uint64_t before = w.context.memory_used();
    int calls = 0;
    fattr::sketch_options o;
    o.batch = 4;
    auto count = [&](const char *stage, std::int64_t done, std::int64_t total) { calls += stage[0] && done <= total; };
    CHECK(fattr::sketch::build(w.model, r, {}, o, count) && calls > 0);
    CHECK(thrown_by([&] { fattr::sketch::build(w.model, r, {}, o, [](auto...) { return true; }); }) == FA_ERR_CANCELLED);
    try {
        fattr::sketch::build(w.model, r, {}, o, [](auto...) -> bool { throw std::string("mine"); });
        calls = -1;
    } catch (const std::string &s) {
        CHECK(s == "mine");
    }
    CHECK(calls > 0);
    CHECK(fattr::sketch::try_build(w.model, r, {}, o, [](auto...) -> bool { throw 1; }).status() == FA_ERR_CANCELLED);
    CHECK(w.context.memory_used() == before);
}

void threads(world &w)
{
    images x = make_images(6, 5);
    std::vector<double> scores(4 * 6);
    std::vector<std::thread> crew;
    for (std::size_t t = 0; t < 4; t++)
        crew.emplace_back([&, t, scorer = fattr::scorer(w.sketch, w.model)]() mutable {
            for (std::size_t i = 0; i < 6; i++) scores[6 * t + i] = scorer.score(fattr::array_view(&x[784 * i], {1, 1, 28, 28})).score;
        });
    for (auto &t : crew) t.join();
    for (std::size_t i = 0; i < 24; i++) CHECK(scores[i] == scores[i % 6]);
}

} // namespace

void gradients(world &w)
{
    bool fails = false;
    fattr::output_gradient margin([&fails](const fa_output_batch &b, fattr::span<float> to) {
        if (fails) throw std::runtime_error("not today");
        for (std::int64_t i = 0; i < b.n; i++) {
            const float *z = b.outputs + i * b.length;
            const std::int64_t best = std::max_element(z, z + b.length) - z;
            for (std::int64_t k = 0; k < b.length; k++) to[static_cast<std::size_t>(i * b.length + k)] = k == best ? -9.0f : 1.0f;
        }
    });
    fattr::sketch_options o;
    o.loss = FA_LOSS_HOST;
    auto references = fattr::refset::create(w.context, view(w.references));
    CHECK(thrown_by([&] { fattr::sketch::build(w.model, references, {}, o); }) == FA_ERR_STATE);
    auto sketch = fattr::sketch::build(w.model, references, {}, margin.with(o));
    CHECK(thrown_by([&] { fattr::scorer(sketch, w.model); }) == FA_ERR_STATE);
    fattr::scorer ours(sketch, w.model, margin.with(fattr::scorer_options{})), plain(w.sketch, w.model);
    images x = make_images(1, 9);
    CHECK(std::fabs(ours.score(view(x)).score - plain.score(view(x)).score) < 1e-5);
    fails = true;
    CHECK(thrown_by([&] { ours.score(view(x)); }) == FA_ERR_CANCELLED && std::strstr(fa_error_message(), "not today"));
}

/* A small language model's own continuations as references, one of them token by token. */
void tokens(world &w, std::string models)
{
    models.resize(models.rfind('/'));
    auto gpt = fattr::model::load(w.context, (models + "/../../tests/data/oracle_tokens_tied.onnx").c_str());
    std::vector<std::int64_t> prompts(40 * 4), lengths(40);
    for (std::size_t i = 0; i < prompts.size(); i++) prompts[i] = static_cast<std::int64_t>(i * i % 13);
    for (std::size_t i = 0; i < lengths.size(); i++) lengths[i] = static_cast<std::int64_t>(1 + i % 4);
    fattr::generate_options o;
    o.tokens = 6;
    o.lengths = lengths.data();
    const fattr::array_view given(prompts.data(), {40, 4});
    fattr::responses r = gpt.generate(given, o);
    CHECK(r.tokens.shape().size() == 2 && r.tokens.shape()[1] == 10 && r.mask.elements<std::uint8_t>().size() == 400);
    const fa_array whole[] = {r.tokens.view(), r.mask.view()};
    fa_array named[] = {whole[0], whole[1]};
    named[0].name = nullptr;
    fattr::sketch_options so;
    so.loss = FA_LOSS_NEXT_TOKEN;
    auto sketch = fattr::sketch::build(gpt, fattr::refset::create(w.context, named), {}, so);
    fattr::scorer scorer(sketch, gpt);
    const std::int64_t one[] = {1, 10};
    const fa_array last[] = {fa_array{r.tokens.elements<std::int64_t>().data() + 390, one, 2, FA_INT64, nullptr},
                             fa_array{r.mask.elements<std::uint8_t>().data() + 390, one, 2, FA_UINT8, FA_ARRAY_MASK}};
    std::vector<fa_token> found(10);
    std::vector<float> couplings(10 * 40);
    CHECK(scorer.score_tokens(last, found, couplings.data()) == 6);
    double loss = 0;
    for (std::size_t i = 0; i < 6; i++) {
        CHECK(found[i].position == lengths[39] + static_cast<std::int64_t>(i) && std::fabs(static_cast<double>(couplings[40 * i])) <= 1);
        loss += found[i].loss / 6;
    }
    CHECK(std::fabs(std::exp(-loss) - scorer.score(last).confidence) < 1e-5);
    CHECK(thrown_by([&] { scorer.score_tokens(last, fattr::span<fa_token>(found.data(), 5)); }) == FA_ERR_LIMIT);
    o.tokens = 9;
    CHECK(thrown_by([&] { gpt.generate(given, o); }) == FA_ERR_SHAPE);
    CHECK(gpt.try_generate(given, o).status() == FA_ERR_SHAPE);
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    world w(argv[1]);
    life(w);
    files(w, argv[3]);
    refused(w, argv[2]);
    traces(w);
    shards(w);
    mechanisms(w, argv[3]);
    monitor(w, argv[3]);
    callables(w);
    gradients(w);
    tokens(w, argv[1]);
    threads(w);
    fattr::context kept = w.context.share();
    { world gone = std::move(w); }
    std::puts("fattr.hpp: all as it should be");
    return 0;
}
