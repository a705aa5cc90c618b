#include "tools/load/in_flight.h"

#include <gtest/gtest.h>

#include <vector>

namespace roost::load {
namespace {

std::vector<std::uint32_t> order(const InFlight& in_flight) {
  std::vector<std::uint32_t> all;
  for (auto i = in_flight.oldest(); i; i = in_flight.after(*i)) all.push_back(*i);
  return all;
}

TEST(LoadInFlight, TheLongestWaitingComesFirst) {
  InFlight in_flight(5);
  EXPECT_EQ(in_flight.oldest(), std::nullopt);
  for (const std::uint32_t i : {3u, 0u, 4u, 1u}) in_flight.add(i);
  EXPECT_EQ(order(in_flight), (std::vector<std::uint32_t>{3, 0, 4, 1}));
  EXPECT_EQ(in_flight.size(), 4u);
}

TEST(LoadInFlight, AnyOneCanLeaveAndComeBackAsTheYoungest) {
  InFlight in_flight(5);
  for (const std::uint32_t i : {3u, 0u, 4u, 1u}) in_flight.add(i);
  in_flight.remove(4);  // of the middle
  in_flight.remove(3);  // the oldest
  in_flight.remove(1);  // the youngest
  EXPECT_EQ(order(in_flight), (std::vector<std::uint32_t>{0}));
  in_flight.add(3);
  in_flight.remove(0);
  in_flight.add(0);
  EXPECT_EQ(order(in_flight), (std::vector<std::uint32_t>{3, 0}));
  in_flight.remove(0);
  in_flight.remove(3);
  EXPECT_EQ(in_flight.size(), 0u);
  EXPECT_EQ(in_flight.oldest(), std::nullopt);
  in_flight.add(2);
  EXPECT_EQ(order(in_flight), (std::vector<std::uint32_t>{2}));
}

}  // namespace
}  // namespace roost::load
