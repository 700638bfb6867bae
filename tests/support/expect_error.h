// EXPECT_ERROR(statement, Kind::input, "part of the message"): the failure a user would see.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "storage/base/error.h"

#define EXPECT_ERROR(statement, expected_kind, part)                                                       \
  do {                                                                                                     \
    bool thrown = false;                                                                                   \
    try {                                                                                                  \
      statement;                                                                                           \
    } catch (const ::gneiss::Error& error) {                                                               \
      thrown = true;                                                                                       \
      CHECK_MESSAGE(error.kind() == (expected_kind), std::string(error.what()));                           \
      CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos, std::string(error.what())); \
    }                                                                                                      \
    CHECK_MESSAGE(thrown, "no error was thrown by " #statement);                                           \
  } while (false)
