#include "stage.h"
const struct scenario signal_scenarios[] = { { 0 } };
