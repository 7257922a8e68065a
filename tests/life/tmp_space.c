#include "stage.h"
const struct scenario space_scenarios[] = { { 0 } };
