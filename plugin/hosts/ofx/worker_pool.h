// The connections of this process: one for each render that runs at a time, kept for the next.
#pragma once

#include "worker_client.h"

namespace stpn {

// Runs a job on the worker of a device, starting it where it does not run. Throws as Connection::run.
void run_job(const std::string& device, const Job& job, const JobHooks& hooks);

// Closes what is idle. For the end: no job may be running.
void close_connections();

}  // namespace stpn
