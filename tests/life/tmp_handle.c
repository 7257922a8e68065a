#include "stage.h"
const struct scenario handle_scenarios[] = { { 0 } };
