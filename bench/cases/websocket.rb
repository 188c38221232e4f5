# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.case :websocket, title: 'WebSocket: messages of 125 bytes echoed, 100 connections', resource: :websocket, needs: [:websocket],
                     load: :echo
