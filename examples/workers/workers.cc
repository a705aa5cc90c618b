// workers: a fixed number of fibers take jobs from a channel and put results into another.
//
//   workers COUNT NUMBER...      prints the prime factors of each number
//
// The results come as they are ready; main puts them into order. The jobs' channel holds a few: who makes jobs faster than
// they are done is held up, instead of filling the memory.
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <roost/roost.h>

namespace {

struct Job {
  std::size_t index;
  std::uint64_t number;
};
struct Outcome {
  std::size_t index;
  std::string factors;
};

std::string factors_of(std::uint64_t number) {
  std::string text;
  for (std::uint64_t factor = 2; factor <= number / factor; ++factor) {
    while (number % factor == 0) {
      text += " " + std::to_string(factor);
      number /= factor;
    }
    if (factor % 65536 == 0) roost::yield();  // long computations let others have a turn
  }
  if (number > 1 || text.empty()) text += " " + std::to_string(number);
  return text;
}

bool parse(const char* text, std::uint64_t& number) {
  const char* end = text + std::strlen(text);
  return std::from_chars(text, end, number) == std::from_chars_result{end, std::errc()} && number > 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::uint64_t> numbers(static_cast<std::size_t>(argc > 1 ? argc - 1 : 0));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (parse(argv[i + 1], numbers[i])) continue;
    std::fprintf(stderr, "workers: '%s' is not a number from 1 to 18446744073709551615\n", argv[i + 1]);
    return 2;
  }
  if (numbers.size() < 2 || numbers[0] > 1000) {
    std::fprintf(stderr, "usage: workers COUNT NUMBER..., with 1 to 1000 workers, for example: workers 4 91 1001\n");
    return 2;
  }
  const std::uint64_t worker_count = numbers[0];
  numbers.erase(numbers.begin());

  return roost::run([&] {
    roost::Chan<Job> jobs(16);
    roost::Chan<Outcome> outcomes;
    roost::TaskGroup workers;
    for (std::uint64_t i = 0; i < worker_count; ++i) {
      workers.go([=] {
        for (const Job& job : jobs) outcomes.send({job.index, factors_of(job.number)});
      });
    }
    roost::go([&numbers, jobs] {
      for (std::size_t i = 0; i < numbers.size(); ++i) jobs.send({i, numbers[i]});
      jobs.close();  // the workers' loops end when it is empty
    });

    std::vector<std::string> lines(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      auto outcome = outcomes.receive();
      if (!outcome) return 1;
      lines[outcome->index] = std::move(outcome->factors);
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      std::printf("%llu:%s\n", static_cast<unsigned long long>(numbers[i]), lines[i].c_str());
    }
    return workers.wait() ? 0 : 1;
  });
}
