#!/usr/bin/env bash
# Installs AWS's own Lambda runtime clients for Python and Node.js into target/clients/, and prints the
# variables by which the tests find them: eval "$(ci/lambda-clients.sh)"
#
# The client for Node.js is built here, from the sources in its package: that needs a C++ compiler, make,
# Node.js with its headers, and cmake, which comes from PyPI. What is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

clients=$PWD/target/clients
python=$clients/python-4.2.2
node=$clients/node-4.0.2
mkdir -p "$clients"

if ! [ -d "$python" ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$python.new" awslambdaric==4.2.2 >&2
  mv "$python.new" "$python"
fi

if ! [ -d "$node" ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$clients/cmake" cmake >&2
  headers=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  rm -rf "$node.new" && mkdir -p "$node.new"
  (
    cd "$node.new"
    export PATH="$clients/cmake/bin:$PATH" PYTHONPATH="$clients/cmake" npm_config_nodedir="$headers"
    npm install --no-fund --no-audit --loglevel=error aws-lambda-ric@4.0.2 >&2
  )
  mv "$node.new" "$node"
fi

echo "export LAMBDA_PYTHON_CLIENT=$python LAMBDA_NODE_CLIENT=$node"
