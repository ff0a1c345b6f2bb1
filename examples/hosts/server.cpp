/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server loop: one sketch and one model, several threads with a scorer each, requests from a bounded queue. Requests come on standard input, one
 * after the other, each the float32 elements of one model input; each is answered by a line "request class score p-value verdict", in whatever order.
 *
 *     server MODEL.onnx SKETCH.fattr [THREADS] < requests.f32
 */
#include <fattr/fattr.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

struct request {
    long long number;
    std::vector<float> elements;
};

/* Holds the reader back when the scorers are behind. */
class request_queue {
public:
    explicit request_queue(std::size_t limit) : limit_(limit) {}
    void push(request r)
    {
        std::unique_lock<std::mutex> lock(mutex_);
        room_.wait(lock, [this] { return waiting_.size() < limit_; });
        waiting_.push_back(std::move(r));
        work_.notify_one();
    }
    void close()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
        work_.notify_all();
    }
    /* Nothing when the queue is closed and empty. */
    std::optional<request> pop()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        work_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
        if (waiting_.empty()) return std::nullopt;
        request r = std::move(waiting_.front());
        waiting_.pop_front();
        room_.notify_one();
        return r;
    }

private:
    std::mutex mutex_;
    std::condition_variable work_, room_;
    std::deque<request> waiting_;
    std::size_t limit_;
    bool closed_ = false;
};

std::string answer(const request &r, const fa_result &result)
{
    char line[160];
    std::snprintf(line, sizeof line, "%lld %lld %.6f %.4f %s\n", r.number, static_cast<long long>(result.predicted), result.score, result.p_value,
                  result.flagged == 1 ? "flagged" : result.flagged == 0 ? "explained" : "uncalibrated");
    return line;
}

/* The hot path neither throws nor allocates in the library: a bad request costs its sender an error line and nobody else anything. */
void serve(fattr::scorer scorer, request_queue &queue, const std::vector<std::int64_t> &item)
{
    fa_result result;
    while (std::optional<request> r = queue.pop()) {
        auto array = fattr::array_view::rows(fattr::span<const float>(r->elements), item);
        fa_status status = scorer.try_score(array, result);
        std::string line = status == FA_OK ? answer(*r, result) : std::to_string(r->number) + " error " + fa_error_message() + "\n";
        std::fputs(line.c_str(), stdout);
    }
}

int run(const char *model_path, const char *sketch_path, int threads)
{
    auto context = fattr::context::create();
    auto model = fattr::model::load(context, model_path);
    auto sketch = fattr::sketch::load(context, sketch_path);

    fa_value_info input = model.input(0);
    std::size_t size = 1;
    std::vector<std::int64_t> item;
    for (std::int32_t i = 1; i < input.ndim; i++) {
        if (input.shape[i] < 1) throw std::runtime_error(std::string("the model leaves the shape of ") + input.name + " open");
        item.push_back(input.shape[i]);
        size *= static_cast<std::size_t>(input.shape[i]);
    }

    request_queue queue(64);
    std::vector<fattr::scorer> scorers; /* all made before the first thread starts: what does not fit is said here */
    for (int i = 0; i < threads; i++) scorers.emplace_back(sketch, model);
    std::vector<std::thread> workers;
    for (auto &scorer : scorers) workers.emplace_back(serve, std::move(scorer), std::ref(queue), std::cref(item));

    std::vector<float> elements(size);
    std::size_t got;
    long long number = 0;
    while ((got = std::fread(elements.data(), sizeof(float), size, stdin)) == size) queue.push({number++, elements});
    queue.close();
    for (auto &worker : workers) worker.join();
    if (got) std::fprintf(stderr, "server: the last request is incomplete: %zu of %zu elements\n", got, size);
    return got ? 1 : 0;
}

} // namespace

int main(int argc, char **argv)
{
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ); /* answers leave one by one, into a pipe too */
    int threads = argc > 3 ? std::atoi(argv[3]) : 2;
    if (argc < 3 || argc > 4 || threads < 1 || threads > 256) {
        std::fprintf(stderr, "server MODEL.onnx SKETCH.fattr [THREADS] < requests.f32\n");
        return 2;
    }
    try {
        return run(argv[1], argv[2], threads);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "server: %s\n", e.what());
        return 1;
    }
}
