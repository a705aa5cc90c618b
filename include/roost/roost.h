// Everything: what a program that uses roost includes.
#pragma once

#include <roost/error.h>
#include <roost/go.h>
#include <roost/io/copy.h>
#include <roost/io/reader.h>
#include <roost/io/stream.h>
#include <roost/io/writer.h>
#include <roost/net/conn.h>
#include <roost/net/dial.h>
#include <roost/net/endpoint.h>
#include <roost/net/listener.h>
#include <roost/runtime.h>
#include <roost/signal.h>
#include <roost/time/deadline.h>
#include <roost/time/sleep.h>
